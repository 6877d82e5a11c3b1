"""Files and folders are whole or absent, also on a full disk and in a folder that cannot be written."""

import errno
import json
import math
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from rope_mt.errors import UserError
from rope_mt.system import disk as space
from rope_mt.system import files, locks, manifest

FULL = os.strerror(28)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".fill"}


def test_a_file_is_replaced_in_one_step_or_stays_as_it_was(tmp_path):
    path = tmp_path / "new" / "file"
    files.write_whole(path, "one")

    def write_half() -> None:
        with files.whole_file(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "one"
    files.write_json(path, {"ü": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "ü": 1\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_json_has_null_for_what_is_no_number_however_deep(tmp_path):
    path = tmp_path / "manifest.json"
    manifest.write_manifest(path, {"a": -math.inf, "b": [{"c": (math.nan, 1.5)}], "d": "NaN"})
    assert manifest.read_manifest(path, "") == {"a": None, "b": [{"c": [None, 1.5]}], "d": "NaN"}
    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert files.json_text({"ü": [math.inf]}) == '{"ü": [null]}'


def test_a_finished_folder_has_its_name_after_its_files_are_on_the_disk(tmp_path, monkeypatch):
    unfinished, path = tmp_path / ".unfinished", tmp_path / "finished"
    flushed = []
    monkeypatch.setattr(files, "_flush_to_disk", lambda p: flushed.append((p, path.exists())))
    with locks.only_one(unfinished):
        for name in ("a", "b"):
            (unfinished / name).write_text(name)
        files.finish_folder(unfinished, path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["finished"]
    assert sorted(p.name for p in path.iterdir()) == ["a", "b"]
    assert sorted(flushed[:2]) == [(unfinished / "a", False), (unfinished / "b", False)]
    assert flushed[2:] == [(tmp_path, True)]


def write_file(path: Path) -> None:
    files.write_whole(path, "ü" * 70_000)


def add_row(path: Path) -> None:
    before = path.stat().st_size
    assert files.append(path, "ü".encode() * 70_000) == before + 140_000


def write_folder(path: Path) -> None:
    with files.whole_folder(path) as unfinished:
        (unfinished / "small").write_bytes(b"small")
        (unfinished / "weights").write_bytes(b"x" * 140_000)


@pytest.mark.parametrize("disk", ["mounted", "played"], indirect=True)
@pytest.mark.parametrize("left", [0, 50_000])
@pytest.mark.parametrize(("write", "needs"), [(write_file, 140), (add_row, 140), (write_folder, 0)])
def test_a_full_disk_leaves_the_path_as_it_was_and_the_message_says_what_it_needs(disk, left, write, needs):
    path = disk.path / "path"
    if write != write_folder:
        path.write_bytes(b"before")
    before = contents(disk.path)
    disk.leave(left)
    needed = rf"it needs {needs} kB, \S+ \w+ are free" if needs else ".* are free"
    with pytest.raises(UserError, match=rf"^cannot write {path}: {FULL}; {needed}: make room, and give the same"):
        write(path)
    assert contents(disk.path) == before
    disk.make_room()
    write(path)
    sizes = {write_file: [140_000], add_row: [140_006], write_folder: [5, 140_000]}
    assert sorted(map(len, contents(disk.path).values())) == sizes[write]


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(disk):
    folder = disk.path / "folder"
    folder.mkdir()
    (folder / "rows").write_bytes(b"first\n")

    disk.forbid(folder)
    try:
        for write in (files.whole_file, files.whole_folder, locks.only_one):
            with pytest.raises(UserError) as caught, write(folder / "new"):
                pass
            reason = "(Read-only file system|Permission denied)"
            line = rf"cannot write {folder}/new: {reason}; make {folder} writable, or choose another folder"
            assert re.fullmatch(line, str(caught.value))
        error = OSError(errno.EROFS, "Read-only file system")
        assert os.access(folder, os.W_OK) or f"make {folder} writable" in str(space.cannot_write(folder, error))
        with pytest.raises(UserError, match=f"^cannot write {folder}: make it writable, or name another$"):
            space.ensure("this", folder / "not there" / "yet", 0, "name another")
    finally:
        disk.allow(folder)
    assert contents(folder) == {"rows": b"first\n"}


@pytest.mark.parametrize("missing", [errno.EINVAL, errno.ENOSYS])
def test_a_disk_that_cannot_flush_folders_takes_files_and_folders_all_the_same(missing, tmp_path, monkeypatch):
    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "fsync", fsync)
    reason = missing
    (tmp_path / "path").write_bytes(b"")
    write_file(tmp_path / "path")
    write_folder(tmp_path / "folder")
    reason = errno.EIO  # which means that the disk is broken
    with pytest.raises(UserError, match=os.strerror(errno.EIO)):
        write_file(tmp_path / "path")


def test_a_folder_that_cannot_be_renamed_is_copied(tmp_path, monkeypatch):
    def rename(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "rename", rename)
    write_folder(tmp_path / "folder")
    assert sorted(map(len, contents(tmp_path / "folder").values())) == [5, 140_000]
    assert [*tmp_path.iterdir()] == [tmp_path / "folder"]


def test_symbolic_links_to_files_and_folders_stay_and_what_they_lead_to_is_written(tmp_path):
    for name in ("rows", "weights", "logs"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere" / name)
    files.write_whole(tmp_path / "rows", "all")
    write_folder(tmp_path / "weights")
    (tmp_path / "elsewhere" / "logs" / "old").mkdir(parents=True)
    (tmp_path / "elsewhere" / "logs" / "link").symlink_to(tmp_path / "elsewhere" / "weights")
    files.empty_folder(tmp_path / "logs")
    assert all((tmp_path / name).is_symlink() for name in ("rows", "weights", "logs"))
    assert sorted(map(len, contents(tmp_path / "elsewhere").values())) == [3, 5, 140_000]
    assert not [*(tmp_path / "logs").iterdir()]


def test_a_folder_is_written_beside_what_a_killed_process_of_the_same_number_left(tmp_path):
    """In two containers processes have the same numbers."""
    with files.whole_folder(tmp_path / "folder") as others:
        (others / "weights").touch()
        write_folder(tmp_path / "folder")
        assert [*others.iterdir()] == [others / "weights"]
        shutil.rmtree(tmp_path / "folder")
    assert [*contents(tmp_path / "folder")] == ["weights"]
