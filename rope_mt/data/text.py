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


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file as bytes without their end. Only LF ends a line, and a CR before it goes too.

    Raises:
        UserError: the file cannot be read or unpacked.
    """
    openers = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            for line in file:
                yield line.rstrip(b"\n").removesuffix(b"\r")
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def fingerprint(files: list[tuple[Path, Path]]) -> str:
    """sha256 over the lines of all files: the same for the same text, wherever it lies and however it is packed."""
    digest = hashlib.sha256()
    for pair in files:
        for path in pair:
            for line in lines(path):
                digest.update(line + b"\n")
            digest.update(b"\0")
    return digest.hexdigest()


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
