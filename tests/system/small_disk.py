"""A disk that is full or read-only when a test wants it: a real one where mounting is allowed, else one that is played.

As root, or in `unshare -rm`, it is a small tmpfs. Otherwise binary files that are opened in its folder fail to write.
"""

import builtins
import errno
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class MountedDisk:
    def __init__(self, path: Path) -> None:
        self.path, self._fill = path, path / ".fill"

    def leave(self, left: int) -> None:
        """Fill the disk up to so many bytes."""
        self.make_room()
        with open(self._fill, "wb") as file:
            while (size := shutil.disk_usage(self.path).free - left) > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                    return
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise  # else a process has written since the space was looked up

    def make_room(self) -> None:
        self._fill.unlink(missing_ok=True)

    def forbid(self, folder: Path) -> None:
        """Let nothing be written in a folder."""
        for how in (["--bind", str(folder)], ["-o", "remount,bind,ro"]):
            subprocess.run(["mount", *how, str(folder)], check=True)

    def allow(self, folder: Path) -> None:
        subprocess.run(["umount", str(folder)], check=True)


class PlayedDisk:
    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self.left = path.resolve(), 1 << 40
        open, usage = builtins.open, shutil.disk_usage

        class LimitedFile(io.FileIO):
            def write(_, data: Any) -> int:  # noqa: N805
                if not self.left:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                written = super().write(memoryview(data)[: self.left])
                self.left -= written
                return written

        def open_limited(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
            here = isinstance(file, str | Path) and Path(file).absolute().is_relative_to(self.path)
            if not here or mode not in ("wb", "ab"):
                return open(file, mode, buffering, *rest, **more)
            raw = LimitedFile(file, mode)
            return io.BufferedWriter(raw) if buffering else raw

        patch.setattr(builtins, "open", open_limited)
        patch.setattr(io, "open", open_limited)  # pathlib's
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
