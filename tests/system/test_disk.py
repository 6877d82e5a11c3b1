"""Work that does not fit is refused before it begins, and output that cannot be written is one line."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rope_mt.errors import UserError
from rope_mt.system import disk as space


def test_work_that_does_not_fit_is_refused_and_files_that_are_there_need_no_room_again(disk):
    folder = disk.path / "not there" / "yet"
    disk.leave(1_000_000)
    free = space.free(folder)
    assert free == pytest.approx(1_000_000, abs=8192)
    assert "takes up to " in space.ensure("it", folder, free, "go")
    with pytest.raises(UserError) as caught:
        space.ensure("it", folder, free + 1, "go elsewhere")
    amounts = r"0 bytes are there, \S+ [kM]B are free: make room for 1 bytes more"
    line = rf"it takes up to \S+ [kM]B of disk in {folder}; {amounts}, or go elsewhere"
    assert re.fullmatch(line, str(caught.value))
    folder.mkdir(parents=True)
    (folder / "done").write_bytes(b"x" * 8192)
    (folder / ".killed").write_bytes(b"x")
    assert space.used(folder) == 8192
    space.ensure("it", folder, space.free(folder) + 8192, "go")
    with pytest.raises(UserError):
        space.ensure("it", folder, space.free(folder) + 8193, "go")


@pytest.mark.parametrize("stderr_is_full", [False, True])
def test_output_that_cannot_be_written_is_one_line_and_without_a_place_for_it_an_exit_code(tmp_path, stderr_is_full):
    errors = Path("/dev/full") if stderr_is_full else tmp_path / "err"
    with open("/dev/full", "wb") as out, open(errors, "wb") as err:
        done = subprocess.run([sys.executable, "-m", "rope_mt", "--help"], stdout=out, stderr=err, check=False)
    assert done.returncode == 2
    reason = f"{os.strerror(28)}: make room, and give the same command again"
    assert stderr_is_full or errors.read_text() == f"rope-mt: cannot write standard output or a file: {reason}\n"


def test_a_disk_that_tells_no_size_of_itself_is_not_taken_for_full(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 0))
    assert space.ensure("it", tmp_path, 1e12, "go").endswith("0 bytes are there, unknown amounts are free")


@pytest.mark.parametrize(("number", "end"), [(errno.EMFILE, "allow more with `ulimit -n`"), (errno.EIO, "a.ids: .*")])
def test_what_the_system_refuses_to_any_code_is_one_line(number, end):
    assert re.fullmatch(rf"[^\n]*{end}", str(space.refused(OSError(number, os.strerror(number), "a.ids"))))


def test_a_file_or_a_link_to_nothing_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nothing/there")
    (tmp_path / "loop").symlink_to("loop")
    for path, why in (
        ("file", "file is no folder"),
        ("file/x", "file is no folder"),
        ("link", "link is a symbolic link to nothing/there, where no folder is"),
        ("loop/x/y", "loop is a symbolic link to loop, where no folder is"),
    ):
        with pytest.raises(OSError, match=path[:4]) as caught:
            (tmp_path / path).mkdir(parents=True)
        line = str(space.cannot_write(tmp_path / path, caught.value))
        assert line.startswith(f"cannot write {tmp_path / path}: ")
        assert line.endswith(f"; {tmp_path}/{why}: remove it, or choose another folder")


def test_an_error_without_a_file_keeps_its_traceback():
    assert space.refused(OSError(29, "Illegal seek")) is None
