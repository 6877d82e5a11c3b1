"""Disk space: how much is free, whether work fits before it begins, and the message where writing failed."""

import errno
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rope_mt.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
# of disks without flock, or without fsync of folders: Lustre, FUSE, shares of other systems, NFS without a lock server
NOT_OFFERED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.ENOLCK)


def nearest(folder: Path) -> Path:
    """The folder itself or the closest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))


def free(folder: Path) -> float:
    """Free bytes on the disk of a folder, which need not exist yet; infinite where the disk tells no size of itself."""
    usage = shutil.disk_usage(nearest(folder))
    return usage.free if usage.total else math.inf


def used(folder: Path) -> int:
    """Bytes of all files below a folder; those in hidden ones, which a killed process may have left, do not count."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(file.stat().st_size for file in files if "/." not in f"/{file.relative_to(folder)}")


def size_text(size: float) -> str:
    """A number of bytes for a person to read, as in 12.3 MB (of 10^6 bytes)."""
    if math.isinf(size):
        return "unknown amounts"
    if size < 1e6:
        return f"{size:.0f} bytes" if size < 1e3 else f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def ensure(work: str, folder: Path, needed: float, remedy: str) -> str:
    """Refuse work that does not fit on a disk. Files that are already in its folder need no space again.

    Args:
        needed: bytes of the folder when it is largest.
        remedy: what the user can do instead of making room.

    Returns:
        A line that says how much is needed, used and free.

    Raises:
        UserError: there is too little space, or the folder cannot be written.
    """
    parent = nearest(folder)
    if parent.is_dir() and not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {parent}: make it writable, or {remedy}")
    already, spare = used(folder), free(folder)
    amounts = f"{size_text(already)} are there, {size_text(spare)} are free"
    line = f"{work} takes up to {size_text(needed)} of disk in {folder}; {amounts}"
    if already + spare < needed:
        raise UserError(f"{line}: make room for {size_text(needed - already - spare)} more, or {remedy}")
    return line


def cannot_write(path: Path, error: OSError, needs: int = 0) -> UserError:
    """One line about a path that could not be written, and what to do; `needs` is the size in bytes, 0 if unknown."""
    line = f"cannot write {path}: {error.strerror or error}"
    if error.errno in FULL:
        need = f"it needs {size_text(needs)}, " if needs else ""
        amounts = f"{need}{size_text(free(path.parent))} are free"
        return UserError(f"{line}; {amounts}: make room, and give the same command again")
    if error.errno in CLOSED:
        closed = path if path.is_dir() and not os.access(path, os.W_OK) else nearest(path.parent)
        return UserError(f"{line}; make {closed} writable, or choose another folder")
    there = next(above for above in (path, *path.absolute().parents) if os.path.lexists(above))
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ELOOP) and not there.is_dir():
        what = f"a symbolic link to {os.readlink(there)}, where no folder is" if there.is_symlink() else "no folder"
        return UserError(f"{line}; {there} is {what}: remove it, or choose another folder")
    return UserError(f"{line}; choose another folder or name")


@contextmanager
def writing(path: Path, needs: int = 0) -> Iterator[None]:
    """Raise what `cannot_write` says of an OSError in the block, which writes `path`."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, needs) from error


def refused(error: OSError) -> UserError | None:
    """One line on what the system has refused to code that did not expect it; None where it may be a mistake of ours.

    That is an error which names no file, and is none of a full disk or of too many open files.
    """
    reason = error.strerror or str(error)
    if error.errno in FULL:  # printing gives an error without a file name
        name = error.filename or "standard output or a file"
        return UserError(f"cannot write {name}: {reason}: make room, and give the same command again")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return UserError(f"{reason}: allow more with `ulimit -n`")
    if error.filename is None:
        return None
    name = str(error.filename)
    if error.errno == errno.ENAMETOOLONG:  # of a word that stands where a path belongs
        name = f"{name[:60]}…"
    return UserError(f"{name}: {reason}")
