"""Locks keep other processes out, say who has them, and end with their process."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rope_mt.errors import UserError
from rope_mt.system.locks import alone, held, only_one

HOLDER = """
import sys
from pathlib import Path
from rope_mt.system.locks import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that keeps the folder until it reads a line."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], text=True, **pipes)


@pytest.mark.parametrize("killed", [False, True])
def test_the_second_process_says_that_it_waits_and_has_the_lock_when_the_first_has_ended(tmp_path, killed, capfd):
    folder = tmp_path / "made" / "on the way"
    with holder(folder) as first:
        assert first.stdout.readline() == "held\n"
        with holder(folder) as second:
            line = rf"waiting for another rope-mt \(.*, process {first.pid}, since .*\) that is at work in {folder}\n"
            assert re.fullmatch(line, second.stderr.readline())
            assert second.poll() is None
            if killed:
                first.kill()
            else:
                first.communicate("\n", timeout=60)
            assert second.stdout.readline() == "held\n"
            second.kill()
    assert (first.returncode, second.returncode) == (-signal.SIGKILL if killed else 0, -signal.SIGKILL)
    with only_one(folder):
        assert capfd.readouterr() == ("", "")


def test_work_that_another_process_is_at_is_refused(tmp_path):
    file = tmp_path / "run" / ".lock"
    with alone(file, "training"):
        message = rf"^another rope-mt \(.*, process {os.getpid()}, since .*\) is training: wait until it has ended"
        with pytest.raises(UserError, match=message), alone(file, "training"):
            pass
    assert file.read_text() == ""
    with alone(file, "training"):
        pass


def test_other_folders_and_the_same_one_later_are_free_and_no_file_stays_open(tmp_path, capfd):
    open_files = len(os.listdir("/proc/self/fd"))
    with only_one(tmp_path / "a"), only_one(tmp_path / "b"):
        pass
    with pytest.raises(ZeroDivisionError), only_one(tmp_path / "a"):
        raise ZeroDivisionError
    with only_one(tmp_path / "a"):
        pass
    assert capfd.readouterr() == ("", "")
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert {*tmp_path.rglob("*")} == {tmp_path / "a", tmp_path / "b"}


def test_a_folder_that_cannot_be_made_and_a_disk_that_is_full_are_one_clear_line(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*taken/folder: [^\n]+$"), only_one(tmp_path / "taken/folder"):
        pass
    for file, named in ((None, "folder"), (tmp_path / "ids", "ids")):
        with pytest.raises(UserError, match=f"cannot write .*/{named}: No space left"), only_one(tmp_path / "folder"):
            raise OSError(28, "No space left on device", file)


@pytest.mark.parametrize("missing", [errno.ENOTSUP, errno.ENOLCK])
def test_a_disk_without_locks_gets_a_warning_and_another_failure_a_line(missing, tmp_path, monkeypatch, capfd):
    def refuse(lock: int, operation: int) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", refuse)
    reason = missing
    with only_one(tmp_path / "folder"), alone(tmp_path / "run" / ".lock", "training"):
        pass
    lines = capfd.readouterr().err.splitlines()
    for line, folder in zip(lines, ("folder", "run"), strict=True):
        assert line.startswith(f"warning: {tmp_path / folder} is on a disk without locks ({os.strerror(missing)}): ")
    assert not held(tmp_path / "run" / ".lock")
    reason = errno.EIO
    line = f"^cannot write .*: {os.strerror(errno.EIO)}; choose"
    with pytest.raises(UserError, match=line), only_one(tmp_path / "folder"):
        pass
