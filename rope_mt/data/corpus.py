"""The text that a configuration names: where it lies, and what to do when it is not there yet."""

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rope_mt.config.data import OF_FURTHER_TESTS, DataConfig
from rope_mt.data import text
from rope_mt.data.archives import NOT_IN_MIRROR, from_archives
from rope_mt.data.download import download
from rope_mt.errors import UserError
from rope_mt.system.files import whole_file, write_whole

Files = list[tuple[Path, Path]]


@dataclass(frozen=True)
class Corpus:
    """The files of each part, source and target side, and the sha256 of what they hold."""

    train: Files
    valid: Files
    test: Files
    further_tests: dict[str, Files]  # by name
    fingerprints: dict[str, str]


def locate(cfg: DataConfig) -> Corpus:
    """Find the text of a corpus, making or fetching what is missing where the corpus says how.

    Raises:
        UserError: a file is missing and cannot be had, or cannot be read.
    """
    # all at once, so that it is announced together
    _provide(cfg, (*cfg.train, *cfg.valid, *cfg.test, *cfg.further_tests))
    langs = (cfg.src_lang, cfg.tgt_lang)
    files = {part: text.pairs_of_files(getattr(cfg, part), *langs) for part in ("train", "valid", "test")}
    further = {name: text.pairs_of_files([prefix], *langs) for name, prefix in cfg.named_tests.items()}
    all_files = files | {f"{OF_FURTHER_TESTS}{name}": pairs for name, pairs in further.items()}
    fingerprints = {part: text.fingerprint(pairs) for part, pairs in all_files.items()}
    return Corpus(**files, further_tests=further, fingerprints=fingerprints)


def find(cfg: DataConfig, part: str) -> Files:
    """The files of one part alone: the 3,003 sentences of a test set do not take the archives of the training text.

    Raises:
        UserError: a file is missing and cannot be had.
    """
    names = getattr(cfg, part)
    _provide(cfg, names)
    return text.pairs_of_files(names, cfg.src_lang, cfg.tgt_lang)


def _provide(cfg: DataConfig, prefixes: Iterable[str]) -> None:
    langs = (cfg.src_lang, cfg.tgt_lang)
    if cfg.origin == "grammar":
        _write_toy(Path(cfg.dir) / "toy")
    elif missing := [prefix for prefix in dict.fromkeys(prefixes) if not text.is_there(prefix, *langs)]:
        if cfg.mirror and not cfg.mirror.startswith(("http://", "https://")) and not Path(cfg.mirror).is_dir():
            raise UserError(f"data.mirror must be an address or a folder, and there is no folder {cfg.mirror}")
        if packed := [prefix for prefix in missing if prefix in {archive.text for archive in cfg.archives}]:
            from_archives(cfg, packed)
        if cfg.origin:
            _fetch(cfg, missing)


def _write_toy(folder: Path) -> None:
    """Write the grammar's corpus as text, unless it is there as this version of the grammar makes it."""
    from rope_mt.data import toy  # builds its lexicon when it is imported

    sources = (file.read_bytes() for file in sorted(Path(toy.__file__).parent.glob("*.py")))
    made_by = hashlib.sha256(b"".join(sources)).hexdigest()
    stamp = folder / "made-by"
    if stamp.is_file() and stamp.read_text() == made_by:
        return
    corpus = toy.generate()
    for part in ("train", "valid", "test"):
        for side, lang in enumerate(("en", "de")):
            lines = (pair[side] + "\n" for pair in getattr(corpus, part))
            write_whole(folder / f"{part}.{lang}", "".join(lines))
    write_whole(stamp, made_by)


def _fetch(cfg: DataConfig, missing: list[str]) -> None:
    """Fetch the sides of each text as ORIGIN/NAME.LANG.gz, or copy them from the mirror's folder."""
    site = (cfg.mirror or cfg.origin).rstrip("/")
    for prefix in missing:
        for lang in (cfg.src_lang, cfg.tgt_lang):
            if text.find(prefix, lang):
                continue
            target = Path(f"{prefix}.{lang}.gz")
            if not Path(site).is_dir():
                download(f"{site}/{target.name}", target)
            elif (there := Path(site) / target.name).is_file():
                with open(there, "rb") as source, whole_file(target) as copy:
                    shutil.copyfileobj(source, copy)
            else:
                raise UserError(NOT_IN_MIRROR.format(site, target.name))
