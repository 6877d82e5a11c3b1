"""Locks that keep other processes out of a folder or a piece of work, and that end with their process."""

import fcntl
import getpass
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from rope_mt.errors import UserError
from rope_mt.system.disk import CLOSED, FULL, NOT_OFFERED, cannot_write, writing

OWNER = ".owner"  # file in a locked folder: it carries the lock and names the process that has it


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Make a folder and lock it; another process that wants the same folder waits, and says so.

    Raises:
        UserError: the folder cannot be made or locked, or the block meets a full disk or a closed folder.
    """
    with writing(folder):
        lock = _wait_for(folder)
    try:
        yield
    except OSError as error:
        if error.errno not in (*FULL, *CLOSED):
            raise
        raise cannot_write(Path(error.filename or folder), error) from error
    finally:
        with suppress(OSError):  # the block may have renamed the folder
            (folder / OWNER).unlink()
        os.close(lock)


def _wait_for(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock, owner = _try_lock(folder / OWNER)
        if owner is not None:
            print(f"waiting for {owner} that is at work in {folder}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            _sign(lock)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(folder / OWNER)):
                return lock
        os.close(lock)  # the other process has removed this file or renamed its folder meanwhile: try again


@contextmanager
def alone(file: Path, at_work: str) -> Iterator[None]:
    """Lock a file, which stays, for the block; `at_work` names the work, as in `training outputs/toy`.

    Raises:
        UserError: another process has the lock, or the file cannot be written.
    """
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock, owner = _try_lock(file)
    try:
        if owner is not None:
            raise UserError(f"{owner} is {at_work}: wait until it has ended, or end it")
        yield
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def held(file: Path) -> bool:
    """Whether another process has locked a file with `alone`."""
    if not file.is_file():
        return False
    with open(file, "rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in NOT_OFFERED:
                raise
    return False


def _try_lock(file: Path) -> tuple[int, str | None]:
    """Open a file, and lock it unless another process has it: then the second value names that process."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)  # on NFS only a file open for writing can be locked
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        name = os.pread(lock, 1_000, 0).decode(errors="replace")
        return lock, f"another rope-mt ({name})" if name else "another rope-mt"
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            os.close(lock)
            raise
        warning = f"warning: {file.parent} is on a disk without locks ({error.strerror})"
        print(f"{warning}: nothing keeps a second rope-mt out of it", file=sys.stderr, flush=True)
    _sign(lock)
    return lock, None


def _sign(lock: int) -> None:
    """Write user, host, process and time into a locked file."""
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    with suppress(OSError):  # on a full disk the lock holds without a name
        name = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}, since {since}"
        os.ftruncate(lock, 0)
        os.pwrite(lock, name.encode(), 0)
