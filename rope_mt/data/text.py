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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import IO

from rope_mt.errors import UserError

SUFFIXES = ("", ".gz", ".xz")
LONGEST_LINE = 1 << 24  # bytes; ten packed megabytes can be a line of ten gigabytes
SHOWN = 500  # characters of a line
COMPOSED = 4  # characters, at most, that NFC makes one of
WIDE = {  # encodings by the marks that they begin with; UTF-32 is first, as its mark begins with that of UTF-16
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
WIDE_UNMARKED = "is this UTF-16 without a byte order mark?"

Files = list[tuple[Path, Path]]  # source and target files
Warn = Callable[[str], object]  # takes a line for the user


def normalize(line: str, most: int = sys.maxsize) -> str:
    """NFC, and runs of white space as one blank: what models read and learn to write. References stay as they are.

    A result of more than `most` characters may be cut: NFC takes time by the square of the accents on one letter.
    """
    if len(line) > COMPOSED * most:
        line = " ".join(line.split())[: COMPOSED * (most + 1)]
    return " ".join(unicodedata.normalize("NFC", line).split())


UNSEEN = {  # what a line has, and the signs
    "with soft hyphens": re.compile("\u00ad"),
    "with zero-width characters": re.compile("[\u200b-\u200d\u2060\ufeff]"),
    "with bidirectional marks": re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"),
    "with U+2581, which SentencePiece takes for a blank": re.compile("\u2581"),
}
NOT_NFC = "not in Unicode's form NFC"


def oddities(line: str) -> list[str]:
    """What a reader does not see in a line, and a program does."""
    if line.isascii():
        return []
    found = [name for name, signs in UNSEEN.items() if signs.search(line)]
    return found if unicodedata.is_normalized("NFC", line) else [*found, NOT_NFC]


def tally(counts: Mapping[str, int], unit: str = "line") -> str:
    """As in `3 lines with soft hyphens, 1 line not in Unicode's form NFC`."""
    return ", ".join(f"{n:,} {unit}{'s' * (n > 1)} {name}" for name, n in counts.items())


def printable(line: str) -> str:
    """The beginning of a line for a terminal, with U+FFFD for what would move its cursor or change its colours."""
    line = normalize(line, SHOWN)
    return re.sub("[\x00-\x1f\x7f-\x9f]", "\ufffd", line[:SHOWN]) + "…" * (len(line) > SHOWN)


# ---- files -----------------------------------------------------------------------------------------------------------


def find(name: str, lang: str) -> list[Path]:
    """The files of one language that a prefix or glob names, in order. Plain comes before .gz, and .gz before .xz.

    A name with signs of a glob is a prefix all the same where there is such a file.
    """
    plain = [path for suffix in SUFFIXES if (path := Path(f"{name}.{lang}{suffix}")).is_file()][:1]
    if plain:
        return plain
    files: dict[str, str] = {}
    for suffix in SUFFIXES:
        for file in glob.glob(f"{name}.{lang}{suffix}"):
            files.setdefault(file.removesuffix(suffix), file)
    return [Path(file) for file in sorted(files.values())]


def exists(name: str, *langs: str) -> bool:
    """Whether a prefix or glob names a file of each language."""
    return all(find(name, lang) for lang in langs)


def pairs_of_files(names: list[str], src_lang: str, tgt_lang: str) -> Files:
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
            targets = find(glob.escape(prefix), tgt_lang)
            if not targets:
                languages = "data.src_lang and data.tgt_lang name the languages"
                raise UserError(f"no such text: {prefix}.{tgt_lang}, the other side of {source}; {languages}")
            files.append((source, targets[0]))
    return files


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The content of a file, unpacked.

    Raises:
        UserError: the file cannot be read or unpacked.
    """
    openers = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            yield file
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def fingerprint(files: Files) -> str:
    """sha256 of the content of all files: the same for the same text, wherever it lies and however it is packed."""
    digest = hashlib.sha256()
    for source, target in files:
        marks = documents(source)
        for path in (source, target, *([marks] if marks else [])):
            with opened(path) as file:
                for block in iter(partial(file.read, 1 << 20), b""):
                    digest.update(block)
            digest.update(b"\0")
    return digest.hexdigest()


# ---- lines -----------------------------------------------------------------------------------------------------------


def lines(path: Path, warn: Warn = lambda line: None) -> Iterator[bytes]:
    """The lines of a file as bytes without their end, as `lines_of` gives them.

    Raises:
        UserError: the file cannot be read or unpacked, is UTF-16 or UTF-32, or a line is longer than LONGEST_LINE.
    """
    with opened(path) as file:
        yield from lines_of(file.readline, str(path), warn)


def lines_of(readline: Callable[[int], bytes], name: str, warn: Warn = lambda line: None) -> Iterator[bytes]:
    """The lines of an open file or of standard input. Only LF ends a line; CRs before it are removed too.

    A byte order mark at the beginning is skipped. Warnings tell of it, and of the number of lines with NUL characters.

    Args:
        readline: of the file: returns the bytes up to the next LF, or as many as it is asked for.
        name: of the text, for messages.

    Raises:
        UserError: a line is longer than LONGEST_LINE, or the text is UTF-16 or UTF-32.
    """
    read = partial(readline, LONGEST_LINE + 1)
    line, n, with_nul = read(), 1, 0
    for wide, marks in WIDE.items():
        if line.startswith(marks):
            raise UserError(f"{name} is {wide}: make UTF-8 of it, as with `iconv -f {wide} -t UTF-8`")
    if line.startswith(codecs.BOM_UTF8):
        warn(f"{name} begins with a byte order mark, which is skipped")
        while line.startswith(codecs.BOM_UTF8):
            line = line.removeprefix(codecs.BOM_UTF8)
    while line:
        with_nul += b"\0" in line
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            raise UserError(f"{name}, line {n:,}, is longer than {LONGEST_LINE >> 20} MiB: is this text?")
        yield line.rstrip(b"\r\n")
        line = read()
        n += 1
    if with_nul:
        warn(f"{name} has {with_nul:,} line{'s' * (with_nul > 1)} with NUL characters: {WIDE_UNMARKED}")


def size(paths: Iterable[Path], warn: Warn = lambda line: None) -> tuple[int, int]:
    """The number of all lines, unfinished last ones included, and their bytes, unpacked; `warn` as for `lines_of`."""
    lengths = [len(line) + 1 for path in paths for line in lines(path, warn)]
    return len(lengths), sum(lengths)


def aligned(source: Path, target: Path, warn: Warn = lambda line: None) -> Iterator[tuple[bytes, bytes]]:
    """Line n of the source with line n of the target; `warn` as for `lines_of`.

    Raises:
        UserError: one file is longer than the other; both counts are named.
    """
    ours, theirs = lines(source, warn), lines(target, warn)
    for n, (src, tgt) in enumerate(zip_longest(ours, theirs)):
        if src is None or tgt is None:
            n_src = n + (src is not None) + sum(1 for _ in ours)
            n_tgt = n + (tgt is not None) + sum(1 for _ in theirs)
            unequal = f"{source} has {n_src} lines, {target} has {n_tgt}"
            raise UserError(f"{unequal}: line n of one must translate line n of the other")
        yield src, tgt


def read_test_set(files: Files, warn: Warn = lambda line: None) -> tuple[list[str], list[str]]:
    """Sources and references of a validation or test set, as they are on disk; `warn` as for `lines_of`.

    Raises:
        UserError: a line is not UTF-8 (file and line are named), or there are none.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    for source, target in files:
        for n, pair in enumerate(aligned(source, target, warn), start=1):
            for side, path, line in zip(sides, (source, target), pair, strict=True):
                try:
                    side.append(line.decode())
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}, line {n}, is not UTF-8: {error.reason}") from error
    if not sides[0]:
        raise UserError(f"{' and '.join(str(source) for source, _ in files)}: there is no line in it")
    return sides


# ---- documents -------------------------------------------------------------------------------------------------------


def documents(source: Path) -> Path | None:
    """PREFIX.docs (plain, .gz or .xz) beside a source file, which says where its documents are."""
    prefix = str(source).removesuffix(".gz").removesuffix(".xz").rpartition(".")[0]
    return next(iter(find(glob.escape(prefix), "docs")), None)


def first_lines(marks: Path) -> set[int]:
    """The first lines, from 0, of the documents in a .docs file: `first line from 1 TAB number of lines TAB name`.

    The line behind the end of a document begins one too.

    Raises:
        UserError: a line of the file says something else.
    """
    firsts: set[int] = set()
    for n, line in enumerate(lines(marks), start=1):
        try:
            first, length = (int(field) for field in line.split(b"\t")[:2])
        except ValueError:
            first = length = -1
        if first < 1 or length < 0:
            raise UserError(f"{marks}, line {n}, is not FIRST LINE, TAB, NUMBER OF LINES")
        firsts |= {first - 1, first - 1 + length}
    return firsts


def pairs(files: Files) -> Iterator[tuple[bytes, bytes, bool, bool]]:
    """Source, target, whether a document begins there, and whether a .docs file says so: without one a file is one.

    Raises a UserError as `aligned` and `first_lines` do.
    """
    for source, target in files:
        marks = documents(source)
        firsts = {0, *first_lines(marks)} if marks else {0}
        for n, (src, tgt) in enumerate(aligned(source, target)):
            yield src, tgt, n in firsts, marks is not None


def document_numbers(files: Files) -> list[int]:
    """The number, from 0, of the document of each line of a test set; without a .docs file each line is a document.

    Raises:
        UserError: a .docs file is damaged.
    """
    numbers, number = [], -1
    for _, _, begins, marked in pairs(files):
        number += begins or not marked
        numbers.append(number)
    return numbers
