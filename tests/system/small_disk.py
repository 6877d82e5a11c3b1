"""A disk that is full or read-only when a test wants it: a real one where mounting is allowed, else one that is played.

As root, or in `unshare -rm`, it is a small tmpfs. Without that, writing to the folder fails in `os.write`.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class MountedDisk:
    def __init__(self, path: Path) -> None:
        self.path, self._fill = path, path / ".fill"

    def leave(self, left: int) -> None:
        """Fill the disk up to so many bytes."""
        self.make_room()
        with open(self._fill, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(self.path).free - left))

    def make_room(self) -> None:
        self._fill.unlink(missing_ok=True)

    def forbid(self, folder: Path) -> None:
        """Let nothing be written in a folder that is there."""
        for how in (["--bind", str(folder)], ["-o", "remount,bind,ro"]):
            subprocess.run(["mount", *how, str(folder)], check=True)

    def allow(self, folder: Path) -> None:
        subprocess.run(["umount", str(folder)], check=True)


class PlayedDisk:
    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self.left = path.resolve(), 1 << 40
        write, usage = os.write, shutil.disk_usage

        def here(handle: int) -> bool:
            return Path(os.readlink(f"/proc/self/fd/{handle}")).is_relative_to(self.path)

        def write_what_fits(handle: int, data: bytes) -> int:
            if not here(handle):
                return write(handle, data)
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = write(handle, data[: self.left])
            self.left -= written
            return written

        patch.setattr(os, "write", write_what_fits)
        patch.setattr(shutil, "disk_usage", lambda folder: usage(folder)._replace(free=self.left))

    def leave(self, left: int) -> None:
        self.left = left

    def make_room(self) -> None:
        self.left = 1 << 40

    def forbid(self, folder: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere, and mounting is not allowed")
        folder.chmod(0o500)

    def allow(self, folder: Path) -> None:
        folder.chmod(0o700)


@contextmanager
def mounted(path: Path, size: str = "4m") -> Iterator[MountedDisk | None]:
    """A disk of its own on a folder; None where mounting is not allowed."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield MountedDisk(path)
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", str(path)], check=True)
