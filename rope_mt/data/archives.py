"""Text from archives on the web: which ones a text needs, where they come from, and which of their files are read."""

import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from posixpath import basename
from typing import IO, Any

from rope_mt.config.data import DataConfig
from rope_mt.data import text
from rope_mt.data.download import CUT, download, verify
from rope_mt.data.sgm import Segments
from rope_mt.errors import UserError
from rope_mt.system import disk
from rope_mt.system.files import whole_file
from rope_mt.system.locks import only_one

BLOCK = 1 << 20

File = tuple[str, int | None, str]  # address, or path below the mirror; bytes and checksum, if they are known


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
            files = [obtain(cfg, folder / "archives", *file) for file in _needed(cfg, prefix, in_parquet)]
            with ExitStack() as stack:
                outputs = {lang: stack.enter_context(whole_file(Path(f"{prefix}.{lang}"))) for lang in langs}
                if in_parquet:
                    pairs = next(parquet.pairs for parquet in cfg.parquet if parquet.text == prefix)
                    if (count := copy_columns(files, outputs)) != pairs:
                        another = "it is not the data set that was meant"
                        raise UserError(f"{files[0].parent} has {count:,} pairs, not {pairs:,}: {another}")
                    continue
                archives = [archive for archive in cfg.archives if archive.text == prefix]
                for file, archive in zip(files, archives, strict=True):
                    print(f"reading {', '.join(archive.members.values())} from {file}", file=sys.stderr, flush=True)
                    copy_members(file, {archive.members[lang]: output for lang, output in outputs.items()})


def _needed(cfg: DataConfig, prefix: str, in_parquet: bool) -> list[File]:
    """The files that a text is made from, in order."""
    if in_parquet:
        return [(file, None, "") for parquet in cfg.parquet if parquet.text == prefix for file in parquet.files]
    return [(archive.url, archive.size, archive.check) for archive in cfg.archives if archive.text == prefix]


def _announce(cfg: DataConfig, files: list[File]) -> None:
    """Say which files will be read, and how much disk the corpus takes.

    Raises:
        UserError: the disk has less room than that, files of the corpus that lie there already included.
    """
    names = [basename(address) + (f" ({size / 1e6:,.0f} MB)" if size else "") for address, size, _ in files]
    print(f"data={cfg.name} is not all there; it is made from {', '.join(names)}", file=sys.stderr)
    folder, remedy = Path(cfg.dir) / cfg.name, "choose another disk with data.dir=FOLDER"
    print(disk.ensure(f"data={cfg.name}", folder, 1e9 * cfg.disk, remedy), file=sys.stderr, flush=True)


def obtain(cfg: DataConfig, folder: Path, address: str, size: int | None = None, check: str = "") -> Path:
    """A verified copy of a file: the one in the mirror's folder, or one fetched from the mirror or its own address."""
    below = basename(address) if "://" in address else address
    path = folder / basename(address)
    if cfg.mirror and Path(cfg.mirror).is_dir():
        path = Path(cfg.mirror) / below
        if not path.is_file():
            raise UserError(f"the mirror {cfg.mirror} has no {below}")
    if path.is_file():
        verify(path, size, check, str(path))
    else:
        download(f"{cfg.mirror.rstrip('/')}/{below}" if cfg.mirror else address, path, size, check)
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

    Of an .sgm member the text of its segments is taken, a line each.

    Raises:
        UserError: a member is missing, the archive is damaged, or the sides are not equally long or have their
            segments in another order.
    """
    counts: dict[str, int] = {}
    orders: list[list[Any]] = []  # the segments of each .sgm member
    try:
        with tarfile.open(archive, "r|*", bufsize=BLOCK) as members:
            for member in members:
                name = basename(member.name)
                content = members.extractfile(member) if member.isfile() else None
                if content and name in outputs.keys() - counts.keys():
                    lines: Iterable[bytes] = content
                    if name.endswith(".sgm"):
                        found = Segments(content.read(), name).lines
                        orders.append([*found])
                        lines = (line.encode(errors="surrogateescape") for line in found.values())
                    counts[name] = 0
                    for line in lines:
                        outputs[name].write(line.removesuffix(b"\n") + b"\n")
                        counts[name] += 1
                if len(counts) == len(outputs):
                    break
    except tarfile.TarError as error:
        raise UserError(f"cannot read {archive}: {error}; remove it and run the same command again") from error
    if absent := outputs.keys() - counts.keys():
        raise UserError(f"{archive} holds no {' and no '.join(sorted(absent))}")
    if len({*counts.values()}) > 1:
        raise UserError(f"{archive}: " + ", ".join(f"{name} has {n:,} lines" for name, n in counts.items()))
    if any(order != orders[0] and set(order) == set(orders[0]) for order in orders):
        raise UserError(f"{archive}: {' and '.join(counts)} have their segments in different orders")


def copy_columns(files: list[Path], outputs: dict[str, IO[bytes]]) -> int:
    """Append a language of Parquet files to each output, a column or a field of `translation`; return the pairs.

    Raises:
        UserError: pyarrow is not installed, or a file is damaged or another one.
        OSError: an output cannot be written.
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
                nested = not {*outputs} <= {*file.schema_arrow.names}
                for batch in file.iter_batches(columns=["translation"] if nested else [*outputs]):
                    for lang, output in outputs.items():
                        column = batch.column("translation").field(lang) if nested else batch.column(lang)
                        for sentence in column.to_pylist():
                            output.write(" ".join((sentence or "").splitlines()).encode() + b"\n")
                    count += batch.num_rows
        except AttributeError as error:
            raise UserError(f"{path} has no text in columns {' and '.join(outputs)}, nor in translation") from error
        except (pa.ArrowException, KeyError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (*disk.FULL, *disk.CLOSED):
                raise  # of an output
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot read {path}: {reason}; if it was fetched, remove it to fetch it again") from error
    return count
