"""Text out of archives: which are needed, what they take, where they come from, and which members are read."""

import bz2
import gzip
import lzma
import os
import re
import sys
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader, BufferedWriter
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

from rope_mt.config.data import ArchiveConfig, DataConfig
from rope_mt.data import text
from rope_mt.data.download import CUT, download, verify
from rope_mt.errors import UserError
from rope_mt.system import disk
from rope_mt.system.disk import cannot_write
from rope_mt.system.locks import only_one

BLOCK = 1 << 20
NOT_IN_MIRROR = "the mirror {} has no {}"
MOST_TIMES, ANYWAY = 30, 1 << 26  # of its size an archive may unpack to, and bytes; WMT14's unpack to three times it


def from_archives(cfg: DataConfig, missing: list[str]) -> None:
    """Make the missing texts, both sides of each or none, after saying what that takes.

    Raises:
        UserError: the disk is too full, or an archive cannot be had, or is not what was expected.
    """
    for lang in (cfg.src_lang, cfg.tgt_lang):
        if any(lang not in archive.members for archive in cfg.archives):
            raise UserError(f"data={cfg.name} has {' and '.join(cfg.archives[0].members)}, not {lang}")
    in_parquet = _mirror_has_parquet(cfg)
    _announce(cfg, [file for prefix in missing for file in _needed(cfg, prefix, in_parquet)])
    for prefix in missing:
        with only_one(Path(prefix).parent):
            if text.is_there(prefix, cfg.src_lang, cfg.tgt_lang):
                continue  # made by the one that was waited for
            files = [_have(cfg, prefix, file) for file in _needed(cfg, prefix, in_parquet)]
            with _both_sides(cfg, prefix) as outputs:
                if in_parquet:
                    _copy_columns(files, outputs, next(p.pairs for p in cfg.parquet if p.text == prefix))
                    continue
                for file, archive in zip(files, _archives(cfg, prefix), strict=True):
                    print(f"reading {', '.join(archive.members.values())} from {file}", file=sys.stderr, flush=True)
                    copy_members(file, {archive.members[lang]: output for lang, output in outputs.items()})


class _File(NamedTuple):
    address: str  # or a path below the mirror
    size: int | None = None
    check: str = ""

    @property
    def name(self) -> str:
        return _name(self.address)


def _archives(cfg: DataConfig, prefix: str) -> list[ArchiveConfig]:
    return [archive for archive in cfg.archives if archive.text == prefix]


def _needed(cfg: DataConfig, prefix: str, in_parquet: bool) -> list[_File]:
    """The files that a text is made from."""
    if in_parquet:
        return [_File(file) for parquet in cfg.parquet if parquet.text == prefix for file in parquet.files]
    return [_File(archive.url, archive.size, archive.check) for archive in _archives(cfg, prefix)]


def _announce(cfg: DataConfig, files: list[_File]) -> None:
    """Say what will be read, and what all of the corpus takes.

    Raises:
        UserError: the disk has less room than that, what lies there already counted.
    """
    names = ", ".join(f"{file.name} ({file.size / 1e6:,.0f} MB)" if file.size else file.name for file in files)
    print(f"data={cfg.name} is not all there; it is made from {names}", file=sys.stderr)
    folder, remedy = Path(cfg.dir) / cfg.name, "choose another disk with data.dir=FOLDER"
    print(disk.ensure(f"data={cfg.name}", folder, 1e9 * cfg.disk, remedy), file=sys.stderr, flush=True)


def _name(address: str) -> str:
    return PurePosixPath(address).name


def _have(cfg: DataConfig, prefix: str, file: _File) -> Path:
    """A verified copy of a file: the one in the mirror's folder, or one fetched from the mirror or its own address."""
    address, size, check = file
    if cfg.mirror and Path(cfg.mirror).is_dir():
        below = address if "://" not in address else _name(address)
        path = Path(cfg.mirror) / below
        if not path.is_file():
            raise UserError(NOT_IN_MIRROR.format(cfg.mirror, below))
        verify(path, size, check, str(path))
        return path
    if cfg.mirror:
        address = f"{cfg.mirror.rstrip('/')}/{address if '://' not in address else _name(address)}"
    path = Path(prefix).parent / "archives" / _name(address)
    if path.is_file():
        verify(path, size, check, str(path))
    else:
        download(address, path, size, check)
    return path


def _mirror_has_parquet(cfg: DataConfig) -> bool:
    """Whether the mirror is a Hugging Face data set: then it has the first of its files."""
    if not cfg.mirror or not cfg.parquet:
        return False
    first = cfg.parquet[0].files[0]
    if Path(cfg.mirror).is_dir():
        return (Path(cfg.mirror) / first).is_file()
    try:
        ask = urllib.request.Request(f"{cfg.mirror.rstrip('/')}/{first}", method="HEAD")
        with urllib.request.urlopen(ask, timeout=30):
            return True
    except urllib.error.HTTPError:
        return False
    except CUT as error:
        raise UserError(f"data.mirror={cfg.mirror} does not answer ({error})") from error


@contextmanager
def _both_sides(cfg: DataConfig, prefix: str) -> Iterator[dict[str, BufferedWriter]]:
    """Files to write, by language; they get their names when both are complete, and are removed after an error."""
    paths = {lang: Path(f"{prefix}.{lang}") for lang in (cfg.src_lang, cfg.tgt_lang)}
    parts = {lang: path.with_name(f"{path.name}.part") for lang, path in paths.items()}
    try:
        with ExitStack() as files:
            outputs = {lang: files.enter_context(open(part, "wb")) for lang, part in parts.items()}
            yield outputs
            for output in outputs.values():
                output.flush()
                os.fsync(output.fileno())
        for lang, part in parts.items():
            part.rename(paths[lang])
    except OSError as error:
        _remove(parts.values())
        both = Path(f"{prefix}.{cfg.src_lang} and .{cfg.tgt_lang}")
        raise cannot_write(both, error) from error
    finally:
        _remove(parts.values())


def _remove(parts: Iterable[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)


class _Unpacked:
    """What a tar archive holds, plain or packed with gzip, bzip2 or xz, and no more of it than text can come to."""

    def __init__(self, archive: Path) -> None:
        with open(archive, "rb") as file:
            begin = file.read(6)
        openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
        opener = next((opener for magic, opener in openers.items() if begin.startswith(magic)), open)
        self.archive, self.file = archive, opener(archive, "rb")
        self.left = MOST_TIMES * archive.stat().st_size + ANYWAY

    def __enter__(self) -> "_Unpacked":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            UserError: there are more than an archive of text has.
            tarfile.ReadError: the archive is damaged.
        """
        try:
            block = self.file.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise tarfile.ReadError(str(error)) from error
        self.left -= len(block)
        if self.left < 0:
            raise UserError(f"{self.archive} unpacks to over {MOST_TIMES} times its size, as no text does: remove it")
        return block


def copy_members(archive: Path, outputs: dict[str, BufferedWriter]) -> None:
    """Append members of a tar archive, found by their file name alone, to outputs; nothing else is unpacked.

    Of an .sgm member the text of its segments is taken, as sacreBLEU does.

    Raises:
        UserError: a member is missing or there twice, the archive is damaged or no archive of text, or the sides are
            not equally long.
    """
    counts: dict[str, int] = {}
    try:
        with _Unpacked(archive) as unpacked, tarfile.open(fileobj=cast(Any, unpacked), mode="r|") as members:
            for member in members:
                name = _name(member.name)
                if name not in outputs or not member.isfile():
                    continue
                if name in counts:
                    raise UserError(f"{archive} holds {name} more than once")
                content = members.extractfile(member)
                assert isinstance(content, BufferedReader)
                copy = _copy_segments if name.endswith(".sgm") else _copy_lines
                counts[name] = copy(content, outputs[name])
                if len(counts) == len(outputs):
                    break
    except tarfile.TarError as error:
        raise UserError(f"cannot read {archive}: {error}; remove it and run the same command again") from error
    if absent := outputs.keys() - counts.keys():
        raise UserError(f"{archive} holds no {' and no '.join(sorted(absent))}")
    if len({*counts.values()}) > 1:
        raise UserError(f"{archive}: " + ", ".join(f"{name} has {n:,} lines" for name, n in counts.items()))


def _copy_lines(content: BufferedReader, output: BufferedWriter) -> int:
    count, block = 0, b"\n"
    while more := content.read(BLOCK):
        block = more
        output.write(block)
        count += block.count(b"\n")
    if not block.endswith(b"\n"):
        output.write(b"\n")
        count += 1
    return count


def _copy_segments(content: BufferedReader, output: BufferedWriter) -> int:
    segments = [match[1] for line in content if (match := re.match(rb"\s*<seg\b[^>]*>(.*)</seg>", line))]
    lines = (" ".join(segment.decode(errors="surrogateescape").split()) + "\n" for segment in segments)
    output.writelines(line.encode(errors="surrogateescape") for line in lines)
    return len(segments)


def _copy_columns(files: list[Path], outputs: dict[str, BufferedWriter], pairs: int) -> None:
    """Append a field of the column `translation` of Parquet files to each output.

    Raises:
        UserError: pyarrow is not installed, a file is damaged or another one, or the pairs are not as many.
    """
    count = 0
    for sides in _translations(files, [*outputs]):
        for lang, output in outputs.items():
            output.writelines(" ".join((sentence or "").splitlines()).encode() + b"\n" for sentence in sides[lang])
        count += len(next(iter(sides.values())))
        if count > pairs:
            break
    if count != pairs:
        raise UserError(f"{files[0].parent} has {count:,} pairs, not {pairs:,}: it is not the data set that was meant")


def _translations(files: list[Path], languages: list[str]) -> Iterator[dict[str, list[str | None]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError("reading Parquet files takes pyarrow: pip install 'rope-mt[parquet]'") from error
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=["translation"]):
                    column = batch.column("translation")
                    yield {lang: column.field(lang).to_pylist() for lang in languages}
        except (pa.ArrowException, KeyError, AttributeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot read {path}: {reason}; if it was fetched, remove it to fetch it again") from error
