"""Files and folders that are either whole or absent, whatever happens while they are written.

Where the disk is full or the folder is closed, each function raises a UserError that says what to do.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rope_mt.system.disk import cannot_write
from rope_mt.system.locks import OWNER


@contextmanager
def whole_file(path: Path, needs: int = 0) -> Iterator[IO[bytes]]:
    """A file to write that replaces `path` when the block ends; after an error `path` is as it was.

    The message about a full disk says that it `needs` so many bytes, if they are known.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _flush_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error, needs) from error


def write_whole(path: Path, data: bytes | str) -> None:
    """Replace a file by `data` (text as UTF-8) in one step."""
    content = data.encode() if isinstance(data, str) else data
    with whole_file(path, len(content)) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Replace a file by a value as JSON in one step."""
    write_whole(path, json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON that every reader takes: null stands for a number that is infinite or NaN."""
    return json.dumps(_without_infinities(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _without_infinities(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_infinities(item) for name, item in value.items()}
    return [_without_infinities(item) for item in value] if isinstance(value, list | tuple) else value


def append(path: Path, content: bytes, to_disk: bool = False, needs: int = 0) -> int:
    """Add to the end of a file, and return its size in bytes; after an error the file is as it was.

    Args:
        to_disk: wait until the content has reached the disk.
        needs: bytes of the content and of all that will follow it, if they are known.
    """
    try:
        with open(path, "ab", buffering=0) as file:
            before, rest = file.tell(), memoryview(content)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                if to_disk:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise cannot_write(path, error, max(needs, len(content))) from error
    return before + len(content)


@contextmanager
def whole_folder(path: Path, needs: int = 0) -> Iterator[Path]:
    """A folder to fill that gets the name `path` when the block ends; after an error it is gone.

    Args:
        needs: bytes that are to be written, if they are known, for the message about a full disk.
    """
    path = path.resolve()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            unfinished.mkdir(parents=True)
            yield unfinished
            finish_folder(unfinished, path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error, needs) from error


def finish_folder(unfinished: Path, path: Path) -> None:
    """Give a filled folder its name, after all its files have reached the disk."""
    for file in unfinished.iterdir():
        if file.name != OWNER:
            _flush_to_disk(file)
    os.rename(unfinished, path)
    (path / OWNER).unlink(missing_ok=True)  # a waiting process must find the folder locked until it has its name
    _flush_to_disk(path.parent)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
