"""The text that a configuration names: where it lies, and what to do when it is not there yet."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rope_mt.config.data import OF_FURTHER_TESTS, DataConfig
from rope_mt.data import own, text
from rope_mt.data.archives import from_archives, obtain
from rope_mt.data.text import Files
from rope_mt.errors import UserError
from rope_mt.system.files import write_whole


@dataclass(frozen=True)
class Corpus:
    """The files of each part, source and target side, and the sha256 of their content."""

    train: Files
    valid: Files
    test: Files
    further_tests: dict[str, Files]  # additional test sets by name
    fingerprints: dict[str, str]
    cfg: DataConfig  # the configuration with plain prefixes and all sizes
    chosen: dict[str, str] = field(default_factory=dict)  # what it left open: lines by what they begin with


def locate(cfg: DataConfig) -> Corpus:
    """Find the text of a corpus, making or fetching what is missing where the corpus says how.

    Raises:
        UserError: a file is missing and cannot be had, or cannot be read.
    """
    _provide(cfg, own.names_of(cfg))  # all at once, to announce them together
    return at_hand(cfg)


def at_hand(cfg: DataConfig) -> Corpus:
    """The text of a corpus where all of it is there, in whatever form.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    cfg, chosen = own.settle(cfg)
    langs = (cfg.src_lang, cfg.tgt_lang)
    files = {part: text.pairs_of_files(getattr(cfg, part), *langs) for part in ("train", "valid", "test")}
    additional = {name: text.pairs_of_files([prefix], *langs) for name, prefix in cfg.named_tests.items()}
    all_files = files | {f"{OF_FURTHER_TESTS}{name}": pairs for name, pairs in additional.items()}
    fingerprints = {part: text.fingerprint(pairs) for part, pairs in all_files.items()}
    return Corpus(**files, further_tests=additional, fingerprints=fingerprints, cfg=cfg, chosen=chosen)


def find(cfg: DataConfig, part: str) -> Files:
    """The files of one part alone: the test set does not take the archives of the training text.

    Raises:
        UserError: a file is missing and cannot be had.
    """
    names = getattr(cfg, part)
    if names is None:  # it is held out from the training text
        return getattr(locate(cfg), part)
    _provide(cfg, names)
    return text.pairs_of_files(own.plain(names, cfg), cfg.src_lang, cfg.tgt_lang)


def missing(cfg: DataConfig, names: Iterable[str]) -> list[str]:
    """The texts that are not there, but for data sets at Hugging Face."""
    return [name for name in dict.fromkeys(names) if not (name.startswith(own.HUB) or own.found(name, cfg))]


def _provide(cfg: DataConfig, names: Iterable[str]) -> None:
    """Make or fetch the texts that are missing and that the corpus says how to get."""
    if cfg.origin == "grammar":
        _write_toy(Path(cfg.dir) / "toy")
        return
    if not (lost := missing(cfg, names)):
        return
    if cfg.mirror and not cfg.mirror.startswith(("http://", "https://")) and not Path(cfg.mirror).is_dir():
        raise UserError(f"data.mirror must be an address or a folder, and there is no folder {cfg.mirror}")
    if in_archives := [name for name in lost if name in {archive.text for archive in cfg.archives}]:
        from_archives(cfg, in_archives)
    if cfg.origin:
        _fetch(cfg, [name for name in lost if own.can_be_had(cfg, name)])


def _write_toy(folder: Path) -> None:
    """Write the toy corpus, unless this version of the grammar has written it."""
    from rope_mt.data import toy  # builds its lexicon when it is imported

    sources = (file.read_bytes() for file in sorted(Path(toy.__file__).parent.glob("*.py")))
    version = hashlib.sha256(b"".join(sources)).hexdigest()
    made_by, parts = folder / "made-by", ("train", "valid", "test")
    whole = all(text.exists(f"{folder / part}", "en", "de") for part in parts)
    if whole and made_by.is_file() and made_by.read_text() == version:
        return
    corpus = toy.generate()
    for part in parts:
        for side, lang in enumerate(("en", "de")):
            lines = (pair[side] + "\n" for pair in getattr(corpus, part))
            write_whole(folder / f"{part}.{lang}", "".join(lines))
    write_whole(made_by, version)


def _fetch(cfg: DataConfig, prefixes: list[str]) -> None:
    """Fetch the sides of each text as ORIGIN/NAME.LANG.gz, or copy them from the mirror's folder."""
    for prefix in prefixes:
        for lang in (cfg.src_lang, cfg.tgt_lang):
            target = Path(f"{prefix}.{lang}.gz")
            if text.find(prefix, lang):
                continue
            path = obtain(cfg, target.parent, f"{cfg.origin}/{target.name}")
            if path != target:
                write_whole(target, path.read_bytes())
