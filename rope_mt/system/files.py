"""Files and folders that are there whole or not at all, whatever happens while they are written."""

import errno
import fcntl
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rope_mt.errors import UserError
from rope_mt.system import disk
from rope_mt.system.owner import another, this_process

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
OWNER = ".owner"  # in a folder that is locked: whom others wait for


def cannot_write(path: Path, error: OSError, needs: int = 0, reached: int = 0) -> UserError:
    """One line on a file or folder that could not be written, and what to do; to be made when what failed is undone.

    Args:
        needs: bytes that the writing takes; 0: nobody knows.
        reached: bytes that were written.
    """
    said = f"cannot write {path}: {error.strerror or error}"
    if error.errno in FULL:
        amount = f"it needs {disk.shown(needs)}, " if needs else f"it had reached {disk.shown(reached)}, "
        amounts = f"{amount if needs or reached else ''}{disk.left(path.parent)}"
        return UserError(f"{said}; {amounts}: make room, and give the same command again")
    if error.errno in CLOSED:
        return UserError(f"{said}; make {disk.nearest(path.parent)} writable, or choose another folder")
    return UserError(said)


def full_disk(error: OSError) -> UserError:
    """The same of what is written in other ways than with the functions here; without a name it was mostly printed."""
    name = error.filename or "standard output or a file"
    return UserError(f"cannot write {name}: {error.strerror}: make room, and give the same command again")


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


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Make the folder and keep it for this process; another one that wants it waits, and says so.

    Raises:
        UserError: the folder cannot be made or locked, or what is done there meets a full disk or a closed folder.
    """
    try:
        handle = _waited_for(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    except OSError as error:
        if error.errno not in (*FULL, *CLOSED):
            raise
        raise cannot_write(Path(error.filename or folder), error) from error
    finally:
        with suppress(OSError):  # the folder may have another name
            (folder / OWNER).unlink()
        os.close(handle)


def _waited_for(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle, owner = lock(folder / OWNER)
        if owner is not None:
            print(f"waiting for {another(owner)} that is at work in {folder}", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
            sign(handle)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder / OWNER)):
                return handle
        os.close(handle)  # file or folder were renamed or removed by the one that was waited for


def lock(file: Path) -> tuple[int, str | None]:
    """Lock a file for this process, whose name it then holds, or read there which other one has locked it.

    The file is open for writing, as without that other machines would not see the lock on a disk that they share. It is
    gone with the process however that ends.

    Returns:
        The open file; and, if it is another's, what it says of that one.

    Raises:
        OSError: it cannot be opened or locked.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return handle, os.pread(handle, 1_000, 0).decode(errors="replace")
    except OSError:
        os.close(handle)
        raise
    sign(handle)
    return handle, None


def sign(handle: int) -> None:
    """Write into a locked file who has it."""
    with suppress(OSError):  # the disk may be full, which is for others to tell
        os.ftruncate(handle, 0)
        os.pwrite(handle, this_process().encode(), 0)


@contextmanager
def alone(file: Path, at_work: str) -> Iterator[None]:
    """Keep others out for as long as the block lasts, by a lock on this file, which stays; its folder is made.

    Args:
        at_work: what a process that has it is doing, as in `training outputs/toy`.

    Raises:
        UserError: another process has it, or it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, owner = lock(file)
    except OSError as error:
        raise cannot_write(file, error) from error
    try:
        if owner is not None:
            raise UserError(f"{another(owner)} is {at_work}: wait until it has ended, or end it")
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


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
        reached = disk.there(unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)
        raise cannot_write(path, error, reached=reached) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
