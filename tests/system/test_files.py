"""Files and folders that are whole or not there, and locks that end with their process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rope_mt.errors import UserError
from rope_mt.system import files, locks

HOLDER = """
import sys
from pathlib import Path
from rope_mt.system.locks import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that keeps the folder until it reads a line."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], text=True, **pipes)


def test_a_file_is_replaced_in_one_step_or_stays_as_it_was(tmp_path):
    path = tmp_path / "new" / "file"
    files.write_whole(path, "one")

    def half():
        with files.whole_file(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert path.read_text() == "one"
    files.write_json(path, {"ü": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "ü": 1\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*taken/file: ") as caught:
        files.write_whole(tmp_path / "taken" / "file", b"")
    assert "\n" not in str(caught.value)


def test_two_processes_exclude_each_other_and_the_second_says_that_it_waits(tmp_path):
    folder = tmp_path / "made" / "on the way"
    with holder(folder) as first:
        assert first.stdout.readline() == "held\n"
        with holder(folder) as second:
            said = second.stderr.readline()
            assert said.startswith("waiting for another rope-mt (")
            assert said.endswith(f") that is at work in {folder}\n")
            assert f", process {first.pid}, since " in said
            assert second.poll() is None
            first.communicate("\n", timeout=60)
            assert second.stdout.readline() == "held\n"
            second.communicate("\n", timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_lock_is_gone_when_its_holder_is_killed(tmp_path, capfd):
    with holder(tmp_path) as first:
        assert first.stdout.readline() == "held\n"
        with holder(tmp_path) as second:
            assert second.stderr.readline().startswith("waiting")
            first.kill()
            assert second.stdout.readline() == "held\n"
            second.kill()
    assert first.returncode == second.returncode == -signal.SIGKILL
    with locks.only_one(tmp_path):
        assert capfd.readouterr() == ("", "")


def test_other_folders_and_the_same_one_later_are_free(tmp_path, capfd):
    with locks.only_one(tmp_path / "a"), locks.only_one(tmp_path / "b"):
        pass
    with pytest.raises(ZeroDivisionError), locks.only_one(tmp_path / "a"):
        raise ZeroDivisionError
    with locks.only_one(tmp_path / "a"):
        pass
    assert capfd.readouterr() == ("", "")


def test_no_file_stays_open_behind_a_lock(tmp_path):
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(5):
        with locks.only_one(tmp_path):
            pass
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


def test_a_folder_that_cannot_be_made_and_a_disk_that_is_full_are_one_clear_line(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*taken"), locks.only_one(tmp_path / "taken"):
        pass
    with pytest.raises(UserError, match=r"cannot write .*: No space left"), locks.only_one(tmp_path / "full"):
        raise OSError(28, "No space left on device")
    with pytest.raises(UserError, match=r"cannot write .*/ids: No space left"), locks.only_one(tmp_path / "full"):
        raise OSError(28, "No space left on device", str(tmp_path / "ids"))


def test_a_finished_folder_has_its_name_after_its_files_are_on_the_disk(tmp_path, monkeypatch):
    unfinished, path = tmp_path / ".unfinished", tmp_path / "finished"
    unfinished.mkdir()
    for name in ("a", "b"):
        (unfinished / name).write_text(name)
    flushed, named = [], []
    monkeypatch.setattr(files, "_flush_to_disk", lambda p: flushed.append((p, path.exists())))
    with locks.only_one(unfinished):
        files.finish_folder(unfinished, path)
        named.append(sorted(p.name for p in tmp_path.iterdir()))
    assert named == [["finished"]]
    assert sorted(p.name for p in path.iterdir()) == ["a", "b"]
    assert sorted(flushed[:2]) == [(unfinished / "a", False), (unfinished / "b", False)]
    assert flushed[2:] == [(tmp_path, True)]
