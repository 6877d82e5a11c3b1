"""Parallel text on disk: which files a prefix means, how lines are read, and what is refused."""

import glob
import gzip
import hashlib
import lzma
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

from rope_mt.errors import UserError

SUFFIXES = ("", ".gz", ".xz")
UNEQUAL = "{} has {} lines, {} has {}: line n of one must translate line n of the other"


def normalize(line: str) -> str:
    """NFC, and runs of white space as one blank: what models read and learn to write. References stay as they are."""
    return " ".join(unicodedata.normalize("NFC", line).split())


def find(name: str, lang: str) -> list[Path]:
    """The files of one language that a prefix or glob names, in order: plain, .gz or .xz."""
    if glob.has_magic(name):
        found = {str(Path(f)) for suffix in SUFFIXES for f in glob.glob(f"{name}.{lang}{suffix}")}
        return [Path(f) for f in sorted(found)]
    return [path for suffix in SUFFIXES if (path := Path(f"{name}.{lang}{suffix}")).is_file()][:1]


def is_there(name: str, *langs: str) -> bool:
    """Whether a prefix or glob names a file of each language."""
    return all(find(name, lang) for lang in langs)


def pairs_of_files(names: list[str], src_lang: str, tgt_lang: str) -> list[tuple[Path, Path]]:
    """The source and target files that prefixes and globs name.

    Raises:
        UserError: a file is missing.
    """
    files = []
    for name in names:
        sources = find(name, src_lang)
        if not sources:
            raise UserError(f"no such text: {name}.{src_lang} (plain, .gz or .xz)")
        for source in sources:
            prefix = str(source)[: str(source).rindex(f".{src_lang}")]
            targets = find(glob.escape(prefix) if glob.has_magic(prefix) else prefix, tgt_lang)
            if not targets:
                raise UserError(f"no such text: {prefix}.{tgt_lang} (plain, .gz or .xz), the other side of {source}")
            files.append((source, targets[0]))
    return files


def _blocks(path: Path, split: bool) -> Iterator[bytes]:
    """What a file holds, unpacked: line by line, or in large blocks.

    Raises:
        UserError: the file cannot be read or unpacked.
    """
    openers = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            yield from file if split else iter(lambda: file.read(1 << 20), b"")
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file as bytes without their end. Only LF ends a line, and a CR before it goes too.

    Raises:
        UserError: the file cannot be read or unpacked.
    """
    for line in _blocks(path, split=True):
        yield line.rstrip(b"\n").removesuffix(b"\r")


def count(path: Path) -> int:
    """How many lines a file has, an unfinished last one included."""
    n, last = 0, b"\n"
    for block in _blocks(path, split=False):
        n += block.count(b"\n")
        last = block
    return n + (not last.endswith(b"\n"))


def fingerprint(files: list[tuple[Path, Path]]) -> str:
    """sha256 of what all files hold: the same for the same text, wherever it lies and however it is packed."""
    digest = hashlib.sha256()
    for source, target in files:
        marks = documents(source)
        for path in (source, target, *([marks] if marks else [])):
            for block in _blocks(path, split=False):
                digest.update(block)
            digest.update(b"\0")
    return digest.hexdigest()


def documents(source: Path) -> Path | None:
    """PREFIX.docs (plain, .gz or .xz) beside a source file, which says where its documents are."""
    prefix = str(source).removesuffix(".gz").removesuffix(".xz").rpartition(".")[0]
    return next((path for suffix in SUFFIXES if (path := Path(f"{prefix}.docs{suffix}")).is_file()), None)


def first_lines(marks: Path) -> list[int]:
    """The first lines, from 0, of the documents in a .docs file: `first line from 1 TAB number of lines TAB name`.

    A line behind the end of a document opens one too.

    Raises:
        UserError: a line of the file says something else.
    """
    first: set[int] = set()
    for n, line in enumerate(lines(marks), start=1):
        try:
            begin, length = (int(field) for field in line.split(b"\t")[:2])
            if begin < 1 or length < 0:
                raise ValueError
        except ValueError as error:
            raise UserError(f"{marks}, line {n}, is not FIRST LINE, TAB, NUMBER OF LINES") from error
        first |= {begin - 1, begin - 1 + length}
    return sorted(first)


def aligned(source: Path, target: Path) -> Iterator[tuple[bytes, bytes]]:
    """Line n of the source with line n of the target.

    Raises:
        UserError: one file is longer than the other; both counts are named.
    """
    ours, theirs = lines(source), lines(target)
    count = 0
    for line in ours:
        other = next(theirs, None)
        if other is None:
            longer = count + 1 + sum(1 for _ in ours)
            raise UserError(UNEQUAL.format(source, longer, target, count))
        count += 1
        yield line, other
    more = sum(1 for _ in theirs)
    if more:
        raise UserError(UNEQUAL.format(source, count, target, count + more))


def read_test_set(files: list[tuple[Path, Path]]) -> tuple[list[str], list[str]]:
    """Sources and references of a validation or test set, as they are on disk.

    Raises:
        UserError: a line is not UTF-8 (file and line are named), or there are none.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    for source, target in files:
        for n, pair in enumerate(aligned(source, target), start=1):
            for side, path, line in zip(sides, (source, target), pair, strict=True):
                try:
                    side.append(line.decode())
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}, line {n}, is not UTF-8: {error.reason}") from error
    if not sides[0]:
        raise UserError(f"{' and '.join(str(source) for source, _ in files)}: there is no line in it")
    return sides
