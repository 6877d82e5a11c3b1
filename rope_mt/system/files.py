"""Files and folders that are either whole or absent, whatever happens while they are written.

Where the disk is full or the folder is closed, each function raises a UserError that says what to do.
"""

import errno
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rope_mt.errors import UserError
from rope_mt.system.disk import NOT_OFFERED, writing
from rope_mt.system.locks import OWNER


def expanded(path: str) -> str:
    """A path with the home folder for a leading ~, unless there is a folder of this name here.

    Raises:
        UserError: the path is empty, which Python would take for the working folder.
    """
    if not path:
        raise UserError("a path is empty: is a variable of the shell not set?")
    return path if os.path.lexists(path.partition("/")[0]) else os.path.expanduser(path)


@contextmanager
def whole_file(path: Path, needs: int = 0) -> Iterator[IO[bytes]]:
    """A file to write that replaces `path` when the block ends; after an error `path` is as it was.

    A symbolic link stays, and the file that it leads to is replaced.
    The message about a full disk says that it `needs` so many bytes, if they are known.
    """
    target = path.resolve()
    temporary = _unfinished(target)
    with writing(path, needs):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                _flush(file.fileno())
            os.replace(temporary, target)
            _flush_to_disk(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    """A name beside `path` that no other process has: numbers of processes are the same in several containers."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def write_whole(path: Path, data: bytes | str) -> None:
    r"""Replace a file by `data` in one step: text as UTF-8, and bytes of a path that are none as JSON's \udcXX."""
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data
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


def append(path: Path, content: bytes, needs: int = 0) -> int:
    """Add to the end of a file, and return its size in bytes; after an error the file is as it was.

    Args:
        needs: bytes of the content and of all that will follow it, if they are known.
    """
    with writing(path, max(needs, len(content))), open(path, "ab", buffering=0) as file:
        before, rest = file.tell(), memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(before)
            raise
    return before + len(content)


@contextmanager
def whole_folder(path: Path, needs: int = 0) -> Iterator[Path]:
    """A folder to fill that gets the name `path` when the block ends; after an error it is gone.

    Args:
        needs: bytes that are to be written, if they are known, for the message about a full disk.
    """
    path = path.resolve()
    unfinished = _unfinished(path)
    with writing(path, needs):
        unfinished.mkdir(parents=True)
        try:
            yield unfinished
            finish_folder(unfinished, path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def finish_folder(unfinished: Path, path: Path) -> None:
    """Give a filled folder its name, after all its files have reached the disk."""
    for file in unfinished.iterdir():
        if file.name != OWNER:
            _flush_to_disk(file)
    try:
        os.rename(unfinished, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(unfinished, path)  # in a container, of a folder that is part of its image
        shutil.rmtree(unfinished)
    (path / OWNER).unlink(missing_ok=True)  # a waiting process must find the folder locked until it has its name
    _flush_to_disk(path.parent)


def empty_folder(path: Path) -> None:
    """Make a folder, or remove what is in it; the folder itself may be a symbolic link or a mounted disk, and stays."""
    path.mkdir(exist_ok=True)
    for entry in path.iterdir():
        remove_tree(entry)


def remove_tree(path: Path) -> None:
    """Remove a file, a folder or a symbolic link, but not what the link leads to."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        _flush(handle)
    finally:
        os.close(handle)


def _flush(handle: int) -> None:
    """Wait until a file or folder has reached the disk, where the disk can tell."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
