"""Text of one's own in any form, made the plain pairs of files that all else reads, and the sizes that fit it."""

import glob
import hashlib
import json
import math
import os
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import IO

from rope_mt.config.data import DataConfig
from rope_mt.data import text
from rope_mt.data.archives import copy_columns
from rope_mt.data.clean import Cleaning
from rope_mt.data.download import CUT, download
from rope_mt.errors import UserError
from rope_mt.system.files import whole_folder

HUB = "hf:"  # begins the name of a Hugging Face data set
ON_HUB = "hf:OWNER/NAME/SUBSET/SPLIT, as in hf:wmt/wmt16/de-en/train"
FORMS = "FILE.tsv (SOURCE, TAB, TARGET in each line), or PREFIX for PREFIX.en and PREFIX.de"
PARTS = ("train", "valid", "test")
ENDINGS = re.compile(r"(\.(tsv|txt|csv|parquet))?(\.(gz|xz))?$")  # of a table
FRACTION = 20  # of the pairs one in so many, at most, goes to each part
SEED = b"1"  # of the choice which pairs are held out
MOST_PIECES, MOST_TOKENS, FEWEST_TOKENS = 37_000, 25_000, 2_048  # those of WMT14, and of the toy's batches
BATCHES = 200  # of an epoch, roughly
BYTES = 3  # of a token, roughly
WORD, WORDS = re.compile(r"[^\W\d_]+"), 3


# ---- names -----------------------------------------------------------------------------------------------------------


def found(name: str, cfg: DataConfig) -> list[str | Path]:
    """The prefixes and the tables (files of TSV or Parquet) that a name means; none where nothing is there."""
    langs = (cfg.src_lang, cfg.tgt_lang)
    if text.exists(glob.escape(name), *langs):
        return [name]
    files = [name] if Path(name).is_file() else sorted(filter(os.path.isfile, glob.glob(name)))
    parts = [file.removesuffix(".gz").removesuffix(".xz").rpartition(".") for file in files]
    prefixes = {prefix for prefix, _, ending in parts if ending in langs}
    meant: list[str | Path] = []
    for file, (prefix, _, _) in zip(files, parts, strict=True):  # PREFIX.docs, and other languages, are no tables
        meant.append(prefix if prefix in prefixes else Path(file))
    if not meant and text.exists(name, *langs):  # a glob of prefixes
        return [name]
    return list(dict.fromkeys(meant))


def names_of(cfg: DataConfig) -> list[str]:
    """The names of all texts that a configuration gives."""
    return [*cfg.train, *(cfg.valid or ()), *(cfg.test or ()), *cfg.further_tests]


def can_be_had(cfg: DataConfig, name: str) -> bool:
    """Whether the corpus says how to make or fetch this text, and it is none of the user's own, elsewhere."""
    of_origin = bool(cfg.origin) and Path(name).is_relative_to(cfg.dir)
    return of_origin or any(name == archive.text for archive in cfg.archives)


def require_text(cfg: DataConfig) -> None:
    """Look whether all text is there that nobody can make or fetch.

    Raises:
        UserError: a file is missing.
    """
    for name in names_of(cfg):
        for meant in [] if name.startswith(HUB) or can_be_had(cfg, name) else _required(name, cfg):
            if isinstance(meant, str):
                text.pairs_of_files([meant], cfg.src_lang, cfg.tgt_lang)


def _required(name: str, cfg: DataConfig) -> list[str | Path]:
    """What `found` finds.

    Raises:
        UserError: nothing is there; a name that is like it is named.
    """
    if meant := found(name, cfg):
        return meant
    langs = (cfg.src_lang, cfg.tgt_lang)
    if any(text.find(name, lang) for lang in langs):
        text.pairs_of_files([name], *langs)
    if os.path.exists(name):  # a folder, or a pipe, which can be read once
        raise UserError(f"{name} is no file: give {FORMS}")
    there = [file.removesuffix(f".{langs[0]}") for file in map(str, Path(name).parent.glob("*"))]
    near = [text_like for text_like in get_close_matches(name, there, cutoff=0.8) if found(text_like, cfg)]
    raise UserError(f"no such text: {name}; {f'did you mean {near[0]}?' if near else f'give {FORMS}'}")


# ---- plain text ------------------------------------------------------------------------------------------------------


def plain(names: list[str], cfg: DataConfig) -> list[str]:
    """The prefixes and globs of prefixes that names mean, after writing tables as plain text below `data.dir`.

    Raises:
        UserError: a text is missing or cannot be fetched, or a line of a table lacks a column.
    """
    prefixes = []
    for name in names:
        if name.startswith(HUB):
            prefixes.append(_fetched(name, cfg))
            continue
        prefixes += [meant if isinstance(meant, str) else _written(meant, cfg) for meant in _required(name, cfg)]
    return prefixes


def _written(table: Path, cfg: DataConfig) -> str:
    """The prefix of the plain text of a table."""
    with text.opened(table) as file:
        digest = hashlib.file_digest(file, "sha256")  # pyright: ignore[reportArgumentType]: it asks for readinto alone
    digest.update(repr((cfg.columns, cfg.src_lang, cfg.tgt_lang)).encode())
    name = ENDINGS.sub("", table.name)

    def fill(folder: Path) -> None:
        with _sides(folder / name, cfg) as outputs:
            if parquet := ".parquet" in table.suffixes:
                copy_columns([table], outputs)
            for n, line in enumerate(() if parquet else text.lines(table), start=1):
                fields = line.split(b"\t")
                if line and len(fields) < max(cfg.columns):
                    columns = f"source and target are columns {cfg.columns[0]} and {cfg.columns[1]} (data.columns)"
                    raise UserError(f"{table}, line {n:,}, has no column {max(cfg.columns)} behind a tab: {columns}")
                for output, column in zip(outputs.values(), cfg.columns, strict=True) if line else ():
                    output.write(fields[column - 1] + b"\n")
        if not (folder / f"{name}.{cfg.src_lang}").stat().st_size:
            raise UserError(f"{table} has no line: give {FORMS}")

    return str(_made(Path(cfg.dir) / "text" / f"{name}-{digest.hexdigest()[:8]}", fill) / name)


def _fetched(name: str, cfg: DataConfig) -> str:
    """The prefix of the plain text of a Hugging Face data set, made from the Parquet files that the site has of it."""
    parts = name.removeprefix(HUB).split("/")
    if len(parts) != 4 or not all(parts):
        raise UserError(f"{name} does not name a part of a Hugging Face data set: write {ON_HUB}")
    owner, of_owner, subset, split = parts
    site = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    address = f"{site}/api/datasets/{owner}/{of_owner}/parquet/{subset}/{split}"

    def fill(folder: Path) -> None:
        remedy = "fetch its Parquet files by other means, and name them, as in data.train=FOLDER/*.parquet"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                urls = json.load(answer)
            if not (isinstance(urls, list) and urls and all(isinstance(url, str) for url in urls)):
                raise ValueError("the site names no file")
        except CUT as error:
            raise UserError(f"cannot find {address} ({error}): is it {ON_HUB}? or {remedy}") from error
        with _sides(folder / split, cfg) as outputs:
            for number, url in enumerate(urls):
                file = folder / f"{number}.parquet"
                download(url, file, remedy=remedy)
                copy_columns([file], outputs)
                file.unlink()

    # no part has a +
    return str(_made(Path(cfg.dir) / "text" / "+".join([*parts, cfg.src_lang, cfg.tgt_lang]), fill) / split)


@contextmanager
def _sides(prefix: Path, cfg: DataConfig) -> Iterator[dict[str, IO[bytes]]]:
    """The two files of a prefix to write, by their language."""
    with open(f"{prefix}.{cfg.src_lang}", "wb") as src, open(f"{prefix}.{cfg.tgt_lang}", "wb") as tgt:
        yield {cfg.src_lang: src, cfg.tgt_lang: tgt}


def _made(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A folder that `fill` fills unless it is there."""
    if not folder.is_dir():
        try:
            with whole_folder(folder) as made:
                fill(made)
        except UserError:
            if folder.is_dir():  # another process has made it meanwhile
                return folder
            with suppress(OSError):  # it is not empty
                folder.parent.rmdir()
            raise
    return folder


# ---- validation and test sets that are not given ---------------------------------------------------------------------


def hold_out(files: text.Files, cfg: DataConfig, parts: list[str]) -> tuple[dict[str, list[str]], str]:
    """Divide training text: prefixes of what is left of it and of the parts held out, and a line for the user.

    Pairs are held out with all others of the same document, where a .docs file tells documents, else with all of the
    same source line. Which ones they are depends on the text and on SEED alone. Documents that are larger than two of
    the parts are taken where no others are left, the smallest first.

    Raises:
        UserError: there are too few documents or lines.
    """
    usable = Cleaning(replace(cfg, clean="standard", drop_identical=False, drop_duplicates=False)).text
    groups: Counter[int] = Counter()  # pairs of each document or source line that can be in a test set
    n_pairs = 0
    for src, tgt, group, _ in _grouped(files):
        n_pairs += 1
        groups[group] += usable(src, tgt) is not None
    given = " and ".join(f"data.{part}" for part in parts)
    wanted = max(1, min(cfg.held_out, n_pairs // FRACTION))
    part_of: dict[int, str] = {}
    counts = Counter(dict.fromkeys(parts, 0))
    for group in sorted(groups, key=lambda group: (groups[group] > 2 * wanted and groups[group], group)):
        part = next((part for part in parts if counts[part] < wanted), None)
        if part is None:
            break
        if groups[group]:
            part_of[group], counts[part] = part, counts[part] + groups[group]
    marked = any(text.documents(source) for source, _ in files)
    if min(counts.values()) == 0 or len(part_of) == sum(size > 0 for size in groups.values()):
        of = f"{len(groups):,} {'documents' if marked else 'different source lines'}"
        raise UserError(f"{n_pairs:,} pairs of {of} are too few to hold some out: give {given}")

    def fill(folder: Path) -> None:
        with ExitStack() as stack:
            outputs = {part: stack.enter_context(_sides(folder / part, cfg)) for part in ("train", *parts)}
            firsts: dict[str, list[int]] = {part: [] for part in outputs}  # of the documents in each part
            before, n_lines = None, Counter(dict.fromkeys(outputs, 0))
            for src, tgt, group, begins in _grouped(files):
                part = part_of.get(group, "train") if usable(src, tgt) else "train"
                for output, line in zip(outputs[part].values(), (src, tgt), strict=True):
                    output.write(line + b"\n")
                firsts[part] += [n_lines[part]] if begins or before != part else []  # one begins behind each gap, too
                n_lines[part] += 1
                before = part
            for part in outputs if marked else ["train"]:
                marks = zip(firsts[part], [*firsts[part][1:], n_lines[part]], strict=True)
                (folder / f"{part}.docs").write_text("".join(f"{a + 1}\t{b - a}\t{part}\n" for a, b in marks))

    what = (text.fingerprint(files), cfg.src_lang, cfg.tgt_lang, cfg.held_out, parts)
    digest = hashlib.sha256(repr(what).encode() + SEED)
    folder = _made(Path(cfg.dir) / "text" / f"held-out-{digest.hexdigest()[:8]}", fill)
    by = "document" if marked else "line"
    names = {"valid": "validation", "test": "the test set"}
    taken = " and ".join(f"{counts[part]:,} pairs for {names[part]}" for part in parts)
    line = f"{taken}, by {by}, in {folder} ({given} would name others)"
    return {part: [str(folder / part)] for part in ("train", *parts)}, line


def _grouped(files: text.Files) -> Iterator[tuple[bytes, bytes, int, bool]]:
    """Source, target, a random number of its document or source line, and whether a document begins there."""
    document = 0
    for src, tgt, begins, marked in text.pairs(files):
        document += begins
        key = f"document {document}".encode() if marked else src
        yield src, tgt, int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=SEED).digest()), begins


# ---- sizes -----------------------------------------------------------------------------------------------------------


def fitting(files: text.Files, cfg: DataConfig) -> tuple[dict[str, int], str]:
    """The sizes that a configuration leaves open, and a line for the user.

    Pieces are the bytes, the characters, and 40 times the root of the pairs: 1,700 for 1,800 pairs and 34,000 for
    720,000, where 37,000 is usual for WMT14. One for every WORDS words is the most: SentencePiece can make so many of
    any text but a few lines from a template. Batches are such that an epoch has about BATCHES.
    """
    n_pairs, size, characters, words = 0, 0, set[str](), set[str]()
    for source, target in files:
        for pair in text.aligned(source, target):
            n_pairs += 1
            for line in pair:
                size += len(line)
                decoded = line.decode(errors="ignore")
                characters.update(decoded)
                if len(words) < WORDS * MOST_PIECES:
                    words.update(WORD.findall(decoded))
    of_text = min(int(40 * math.sqrt(n_pairs)), len(words) // WORDS)
    pieces = max(300, min(MOST_PIECES, 260 + len(characters) + of_text))
    tokens = max(FEWEST_TOKENS, 2 * (cfg.max_len + 1), min(MOST_TOKENS, size // BYTES // BATCHES))
    why = f"260 for bytes and marks, {len(characters):,} for characters, {of_text:,} for {n_pairs:,} pairs"
    lines = {
        "vocab_size": f"data.vocab_size={pieces} ({why})",
        "batch_tokens": f"data.batch_tokens={tokens} (about {max(1, size // BYTES // tokens):,} batches an epoch)",
    }
    sizes = {"vocab_size": pieces, "batch_tokens": tokens}
    chosen = {name: fits for name, fits in sizes.items() if not getattr(cfg, name)}
    return chosen, ", ".join(lines[name] for name in chosen)


def settle(cfg: DataConfig) -> tuple[DataConfig, dict[str, str]]:
    """The same text as prefixes alone, with all sizes; and lines for the user, by what they begin with.

    Raises:
        UserError: as `plain` and `hold_out` do.
    """
    prefixes = {part: plain(names, cfg) for part in (*PARTS, "further_tests") if (names := getattr(cfg, part))}
    lines = {}
    if missing := [part for part in ("test", "valid") if part not in prefixes]:
        files = text.pairs_of_files(prefixes["train"], cfg.src_lang, cfg.tgt_lang)
        held_out, lines["held out"] = hold_out(files, cfg, missing)
        prefixes |= held_out
    sizes: dict[str, int] = {}
    if not (cfg.vocab_size and cfg.batch_tokens):
        sizes, lines["chosen"] = fitting(text.pairs_of_files(prefixes["train"], cfg.src_lang, cfg.tgt_lang), cfg)
    return replace(cfg, **prefixes, **sizes), lines
