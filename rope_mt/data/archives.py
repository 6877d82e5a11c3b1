"""Text from archives on the web: which ones a text needs, where they come from, and which of their files are read."""

import re
import sys
import tarfile
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from rope_mt.config.data import DataConfig
from rope_mt.data import text
from rope_mt.data.download import CUT, download, verify
from rope_mt.errors import UserError
from rope_mt.system import disk
from rope_mt.system.files import whole_file
from rope_mt.system.locks import only_one

BLOCK = 1 << 20
NOT_IN_MIRROR = "the mirror {} has no {}"


class _File(NamedTuple):
    """An archive or Parquet file that a text is made from."""

    address: str  # or a path below the mirror
    size: int | None = None
    check: str = ""


def from_archives(cfg: DataConfig, missing: list[str]) -> None:
    """Make the missing texts, both sides of each or none, after saying what that takes.

    Raises:
        UserError: the disk is too full, or an archive cannot be had, or is not the one that was meant.
    """
    langs = (cfg.src_lang, cfg.tgt_lang)
    for lang in langs:
        if any(lang not in archive.members for archive in cfg.archives):
            raise UserError(f"data={cfg.name} has {' and '.join(cfg.archives[0].members)}, not {lang}")
    in_parquet = _mirror_has_parquet(cfg)
    _announce(cfg, [file for prefix in missing for file in _needed(cfg, prefix, in_parquet)])
    for prefix in missing:
        folder = Path(prefix).parent
        with only_one(folder):
            if text.exists(prefix, *langs):  # made by another process, for which this one has waited
                continue
            for rest in folder.glob(f".{Path(prefix).name}.*"):  # half a text that a killed process has left
                rest.unlink()
            files = [_obtain(cfg, folder / "archives", file) for file in _needed(cfg, prefix, in_parquet)]
            with ExitStack() as stack:
                outputs = {lang: stack.enter_context(whole_file(Path(f"{prefix}.{lang}"))) for lang in langs}
                if in_parquet:
                    pairs = next(parquet.pairs for parquet in cfg.parquet if parquet.text == prefix)
                    copy_columns(files, outputs, pairs)
                    continue
                archives = [archive for archive in cfg.archives if archive.text == prefix]
                for file, archive in zip(files, archives, strict=True):
                    print(f"reading {', '.join(archive.members.values())} from {file}", file=sys.stderr, flush=True)
                    copy_members(file, {archive.members[lang]: output for lang, output in outputs.items()})


def _needed(cfg: DataConfig, prefix: str, in_parquet: bool) -> list[_File]:
    """The files that a text is made from, in order."""
    if in_parquet:
        return [_File(file) for parquet in cfg.parquet if parquet.text == prefix for file in parquet.files]
    return [_File(archive.url, archive.size, archive.check) for archive in cfg.archives if archive.text == prefix]


def _announce(cfg: DataConfig, files: list[_File]) -> None:
    """Say which files will be read, and how much disk the corpus takes.

    Raises:
        UserError: the disk has less room than that, files of the corpus that lie there already included.
    """
    names = [_name(file.address) + (f" ({file.size / 1e6:,.0f} MB)" if file.size else "") for file in files]
    print(f"data={cfg.name} is not all there; it is made from {', '.join(names)}", file=sys.stderr)
    folder, remedy = Path(cfg.dir) / cfg.name, "choose another disk with data.dir=FOLDER"
    print(disk.ensure(f"data={cfg.name}", folder, 1e9 * cfg.disk, remedy), file=sys.stderr, flush=True)


def _name(address: str) -> str:
    return PurePosixPath(address).name


def _obtain(cfg: DataConfig, folder: Path, file: _File) -> Path:
    """A verified copy of a file: the one in the mirror's folder, or one fetched from the mirror or its own address."""
    below = _name(file.address) if "://" in file.address else file.address
    path = folder / _name(file.address)
    if cfg.mirror and Path(cfg.mirror).is_dir():
        path = Path(cfg.mirror) / below
        if not path.is_file():
            raise UserError(NOT_IN_MIRROR.format(cfg.mirror, below))
    if path.is_file():
        verify(path, file.size, file.check, str(path))
    else:
        download(f"{cfg.mirror.rstrip('/')}/{below}" if cfg.mirror else file.address, path, file.size, file.check)
    return path


def _mirror_has_parquet(cfg: DataConfig) -> bool:
    """Whether the mirror is a Hugging Face data set: it has the first of its files then."""
    if not cfg.mirror or not cfg.parquet:
        return False
    first = cfg.parquet[0].files[0]
    if Path(cfg.mirror).is_dir():
        return (Path(cfg.mirror) / first).is_file()
    try:
        request = urllib.request.Request(f"{cfg.mirror.rstrip('/')}/{first}", method="HEAD")
        with urllib.request.urlopen(request, timeout=30):
            return True
    except urllib.error.HTTPError:
        return False
    except CUT as error:
        raise UserError(f"data.mirror={cfg.mirror} does not answer ({error})") from error


def copy_members(archive: Path, outputs: dict[str, IO[bytes]]) -> None:
    """Append members of a tar archive, found by their file name alone, to outputs; nothing else is unpacked.

    Of an .sgm member the text of its segments is taken, as sacreBLEU does.

    Raises:
        UserError: a member is missing or there twice, the archive is damaged, or the sides are not equally long.
    """
    counts: dict[str, int] = {}
    try:
        with tarfile.open(archive, "r|*", bufsize=BLOCK) as members:
            for member in members:
                name = _name(member.name)
                if name not in outputs or not member.isfile():
                    continue
                if name in counts:
                    raise UserError(f"{archive} holds {name} more than once")
                content = members.extractfile(member)
                assert content is not None  # it is a file
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


def _copy_lines(content: IO[bytes], output: IO[bytes]) -> int:
    """Copy all lines, an end added to a last line without one; return their number."""
    count, last = 0, b"\n"
    while block := content.read(BLOCK):
        output.write(block)
        count += block.count(b"\n")
        last = block[-1:]
    if last != b"\n":
        output.write(b"\n")
        count += 1
    return count


def _copy_segments(content: IO[bytes], output: IO[bytes]) -> int:
    """Copy the text of each <seg>, a line each; return their number."""
    segments = [match[1] for line in content if (match := re.match(rb"\s*<seg\b[^>]*>(.*)</seg>", line))]
    for segment in segments:
        line = " ".join(segment.decode(errors="surrogateescape").split())
        output.write(line.encode(errors="surrogateescape") + b"\n")
    return len(segments)


def copy_columns(files: list[Path], outputs: dict[str, IO[bytes]], pairs: int) -> None:
    """Append a language of the column `translation` of Parquet files to each output.

    Raises:
        UserError: pyarrow is not installed, a file is damaged or another one, or there are not so many pairs.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError("reading Parquet files takes pyarrow: pip install 'rope-mt[parquet]'") from error
    count = 0
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=["translation"]):
                    for lang, output in outputs.items():
                        for sentence in batch.column("translation").field(lang).to_pylist():
                            output.write(" ".join((sentence or "").splitlines()).encode() + b"\n")
                    count += batch.num_rows
        except (pa.ArrowException, KeyError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot read {path}: {reason}; if it was fetched, remove it to fetch it again") from error
    if count != pairs:
        raise UserError(f"{files[0].parent} has {count:,} pairs, not {pairs:,}: it is not the data set that was meant")
