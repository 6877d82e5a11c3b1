"""Parallel text on disk: which files a prefix means, how lines are read, and what is refused."""

import codecs
import glob
import gzip
import hashlib
import lzma
import re
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from rope_mt.errors import UserError

SUFFIXES = ("", ".gz", ".xz")
UNEQUAL = "{} has {} lines, {} has {}: line n of one must translate line n of the other"
LONGEST_LINE = 1 << 24  # bytes; ten packed megabytes can be a line of ten gigabytes
SHOWN = 500  # characters of a line
COMPOSED = 4  # characters, at most, that NFC makes one of

Told = Callable[[str], object]  # what is done with a line for the user


WIDE = {  # encodings by the marks that they begin with; the first that fits
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
WIDE_UNMARKED = "is this UTF-16 without a byte order mark?"


def normalize(line: str, most: int = sys.maxsize) -> str:
    """NFC, and runs of white space as one blank: what models read and learn to write. References stay as they are.

    What comes out longer than `most` characters need not be all of it: NFC takes time by the square of the accents
    that are piled on one letter.
    """
    if len(line) > COMPOSED * most:
        line = " ".join(line.split())[: COMPOSED * (most + 1)]
    return " ".join(unicodedata.normalize("NFC", line).split())


def printable(line: str) -> str:
    """The beginning of a line for a terminal, with U+FFFD for what would move its cursor or change its colours."""
    line = normalize(line, SHOWN)
    return re.sub("[\x00-\x1f\x7f-\x9f]", "\ufffd", line[:SHOWN]) + "…" * (len(line) > SHOWN)


def find(name: str, lang: str) -> list[Path]:
    """The files of one language that a prefix or glob names, in order: plain, .gz or .xz, of one text the first."""
    if glob.has_magic(name):
        found: dict[str, str] = {}
        for suffix in SUFFIXES:
            for file in map(Path, glob.glob(f"{name}.{lang}{suffix}")):
                found.setdefault(str(file).removesuffix(suffix), str(file))
        return [Path(file) for file in sorted(found.values())]
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


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """What a file holds, unpacked.

    Raises:
        UserError: the file cannot be read or unpacked.
    """
    openers = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            yield file
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _blocks(path: Path) -> Iterator[bytes]:
    with _opened(path) as file:
        yield from iter(partial(file.read, 1 << 20), b"")


def lines(path: Path, told: Told = lambda what: None) -> Iterator[bytes]:
    """The lines of a file as bytes without their end, as `lines_of` has them.

    Raises:
        UserError: the file cannot be read or unpacked, is UTF-16 or UTF-32, or a line is longer than LONGEST_LINE.
    """
    with _opened(path) as file:
        yield from lines_of(file.readline, str(path), told)


def lines_of(readline: Callable[[int], bytes], name: str, told: Told = lambda what: None) -> Iterator[bytes]:
    """The lines of an open file or of standard input. Only LF ends a line, and CRs before it go too.

    A byte order mark that the text begins with is no part of it. `told` is told when one is left out, and how many
    lines hold NULs, which stay.

    Args:
        readline: of the file: gives the bytes up to the next LF, of a longer line only as many as it is asked for.
        name: what the text is called in a message.

    Raises:
        UserError: a line is longer than LONGEST_LINE, or the text is UTF-16 or UTF-32.
    """
    read = partial(readline, LONGEST_LINE + 1)
    line, n = read(), 1
    for wide, marks in WIDE.items():
        if line.startswith(marks):
            raise UserError(f"{name} is {wide}: make UTF-8 of it, as with `iconv -f {wide} -t UTF-8`")
    if line.startswith(codecs.BOM_UTF8):
        told(f"{name} begins with a byte order mark, which is left out")
        while line.startswith(codecs.BOM_UTF8):
            line = line.removeprefix(codecs.BOM_UTF8)
    nul = 0
    while line:
        nul += b"\0" in line
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            raise UserError(f"{name}, line {n:,}, is longer than {LONGEST_LINE >> 20} MiB: is this text?")
        yield line.rstrip(b"\r\n")
        line = read()
        n += 1
    if nul:
        told(f"{name} has {nul:,} line{'s' * (nul > 1)} with NUL characters: {WIDE_UNMARKED}")


def begins_with_mark(path: Path) -> bool:
    """Whether there is a byte order mark to be left out.

    Raises:
        UserError: the file cannot be read or unpacked.
    """
    with _opened(path) as file:
        return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def count(path: Path) -> int:
    """How many lines a file has, an unfinished last one included; a byte order mark alone is none."""
    n, last = 0, b"\n"
    for block in _blocks(path):
        n += block.count(b"\n")
        last = block
    unfinished = last if n else last.replace(codecs.BOM_UTF8, b"")
    return n + (unfinished != b"" and not unfinished.endswith(b"\n"))


def size(path: Path) -> int:
    """Bytes that a file has when it is unpacked."""
    packed = path.suffix in SUFFIXES[1:]
    return sum(map(len, _blocks(path))) if packed else path.stat().st_size


def fingerprint(files: list[tuple[Path, Path]]) -> str:
    """sha256 of what all files hold: the same for the same text, wherever it lies and however it is packed."""
    digest = hashlib.sha256()
    for source, target in files:
        marks = documents(source)
        for path in (source, target, *([marks] if marks else [])):
            for block in _blocks(path):
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


def aligned(source: Path, target: Path, told: Told = lambda what: None) -> Iterator[tuple[bytes, bytes]]:
    """Line n of the source with line n of the target; `told` as for `lines_of`.

    Raises:
        UserError: one file is longer than the other; both counts are named.
    """
    ours, theirs = lines(source, told), lines(target, told)
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


def read_test_set(files: list[tuple[Path, Path]], told: Told = lambda what: None) -> tuple[list[str], list[str]]:
    """Sources and references of a validation or test set, as they are on disk; `told` as for `lines_of`.

    Raises:
        UserError: a line is not UTF-8 (file and line are named), or there are none.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    for source, target in files:
        for n, pair in enumerate(aligned(source, target, told), start=1):
            for side, path, line in zip(sides, (source, target), pair, strict=True):
                try:
                    side.append(line.decode())
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}, line {n}, is not UTF-8: {error.reason}") from error
    if not sides[0]:
        raise UserError(f"{' and '.join(str(source) for source, _ in files)}: there is no line in it")
    return sides
