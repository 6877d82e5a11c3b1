"""Files and folders that are there whole or not at all, whatever happens while they are written."""

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rope_mt.errors import UserError
from rope_mt.system.disk import cannot_write
from rope_mt.system.locks import OWNER


class _File(io.FileIO):
    """Takes all that is written, and keeps the first error for `check`: torch.save makes another one of it.

    That one is no OSError, and tells of no disk. What is taken after an error is counted, and so is all that is needed.
    """

    error: OSError | None = None
    needs = 0  # bytes

    def write(self, data: Any, /) -> int:
        taken = len(data)
        if self.error is None:
            try:
                taken = os.write(self.fileno(), data)
            except OSError as error:
                self.error = error
        self.needs += taken
        return taken

    def check(self) -> None:
        if self.error is not None:
            raise self.error


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write to a temporary name beside `path`, then fsync and rename; after an error nothing is left.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    raw = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = _File(temporary, "w")
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            raw.check()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_to_disk(path.parent)
    except BaseException as error:
        with suppress(OSError):  # it may be the folder that is not there
            temporary.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error, raw.needs if raw else 0) from error
        raise


def write_whole(path: Path, data: bytes | str) -> None:
    """Replace the file by `data` (text as UTF-8) in one step."""
    with whole_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def append(path: Path, content: bytes, to_disk: bool = False, needs: int = 0) -> int:
    """Add to the end of a file; after an error the file is as it was.

    Args:
        to_disk: wait until it has reached the disk.
        needs: bytes of this and what is to follow it, if they are known, for the message of a full disk.

    Returns:
        How many bytes the file then has.

    Raises:
        UserError: it cannot be written, or the disk is full.
    """
    try:
        with _File(path, "a") as file:
            before, rest = file.tell(), memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            try:
                file.check()
                if to_disk:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
            return before + len(content)
    except OSError as error:
        raise cannot_write(path, error, max(needs, len(content))) from error


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def finish_folder(unfinished: Path, path: Path) -> None:
    """Give a filled folder its name, after all that is in it has reached the disk."""
    for file in unfinished.iterdir():
        if file.name != OWNER:
            _flush_to_disk(file)
    os.rename(unfinished, path)
    (path / OWNER).unlink(missing_ok=True)  # not before: who comes meanwhile would lock a file of its own
    _flush_to_disk(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that gets its name when all is in it; after an error it is gone.

    Raises:
        UserError: it cannot be written.
    """
    path = path.resolve()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        finish_folder(unfinished, path)
    except UserError as error:  # of a file inside, which goes by the name that it would have had
        if isinstance(error.__cause__, OSError):
            raise UserError(str(error).replace(str(unfinished), str(path))) from error.__cause__
        raise
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
