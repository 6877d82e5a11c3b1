"""Room on a disk: what is free, what lies there already, and a refusal before work begins that would not fit."""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from rope_mt.errors import UserError


def free(folder: Path) -> int:
    """Bytes that may be written on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(nearest(folder)).free


def there(folder: Path) -> int:
    """Bytes of the files in a folder and below; hidden ones, which a killed process may have left, do not count."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # another process has just removed it
            found = path.lstat()
            total += found.st_size if stat.S_ISREG(found.st_mode) and path.name[0] != "." else 0
    return total


def shown(size: int | float) -> str:
    """So many bytes for a person to read, as 12.3 MB of 10^6 bytes."""
    if size < 1e6:
        return f"{size:.0f} bytes" if size < 1e3 else f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def left(folder: Path) -> str:
    """How much is free on the disk of a folder, as part of a sentence."""
    found = os.statvfs(nearest(folder))
    no_further_file = found.f_files and not found.f_favail
    return f"{shown(free(folder))} are free" + (" but no inode" if no_further_file else "")


def ensure(what: str, folder: Path, needed: int | float, remedy: str) -> str:
    """Refuse work that does not fit on a disk; what lies in its folder already needs no room again.

    Args:
        needed: bytes of `what` at the moment when it takes the most.
        remedy: what else may be done than to make room.

    Returns:
        A line that says what is needed, there and free.

    Raises:
        UserError: it is too little, or the folder cannot be written.
    """
    found = nearest(folder)
    if found.is_dir() and not os.access(found, os.W_OK | os.X_OK):  # on a read-only disk not root's either
        raise UserError(f"cannot write {found}: make it writable, or {remedy}")
    have, spare = there(folder), free(folder)
    amounts = f"{shown(have)} are there, {shown(spare)} are free"
    said = f"{what} takes up to {shown(needed)} of disk in {folder}; {amounts}"
    if have + spare < needed:
        raise UserError(f"{said}: make room for {shown(needed - have - spare)} more, or {remedy}")
    return said


def nearest(folder: Path) -> Path:
    """The folder, or the one that is there of those above it; one that may not be looked for counts as not there."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
