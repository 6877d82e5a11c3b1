"""Files and folders are whole or absent, also on a full disk and in a folder that cannot be written."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rope_mt.errors import UserError
from rope_mt.system import disk as space
from rope_mt.system import files, locks

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


def test_a_file_below_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*taken/file: ") as caught:
        files.write_whole(tmp_path / "taken" / "file", b"")
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("disk", ["mounted", "played"], indirect=True)
@pytest.mark.parametrize("left", [0, 50_000])
def test_a_file_that_does_not_fit_leaves_the_one_before_and_says_what_it_needs(disk, left):
    path = disk.path / "file"
    path.write_bytes(b"before")
    disk.leave(left)
    message = rf"^cannot write {path}: {FULL}; it needs 140 kB, \S+ \w+ are free: make room, and give the same command"
    with pytest.raises(UserError, match=f"{message} again$"):
        files.write_whole(path, "ü" * 70_000)
    assert contents(disk.path) == {"file": b"before"}
    disk.make_room()
    files.write_whole(path, "ü" * 70_000)
    assert contents(disk.path) == {"file": "ü".encode() * 70_000}


@pytest.mark.parametrize("disk", ["mounted", "played"], indirect=True)
def test_a_row_is_added_whole_or_not_at_all(disk):
    path = disk.path / "rows"
    size = files.append(path, b"first\n")
    disk.leave(6_000)
    with pytest.raises(UserError, match=f"^cannot write {path}: {FULL}; it needs 20 kB, "):
        files.append(path, b"x" * 20_000)
    assert path.read_bytes() == b"first\n"
    disk.make_room()
    assert files.append(path, b"second\n", to_disk=True) == size + 7
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_folder_that_does_not_fit_is_gone(disk):
    path = disk.path / "model"

    def fill() -> None:
        with files.whole_folder(path) as unfinished:
            (unfinished / "small").write_bytes(b"small")
            (unfinished / "weights").write_bytes(b"x" * 100_000)

    disk.leave(40_000)
    with pytest.raises(UserError, match=f"^cannot write {path}: {FULL}; .* are free: make room, and give the same"):
        fill()
    assert contents(disk.path) == {}
    disk.make_room()
    fill()
    assert contents(path).keys() == {"small", "weights"}


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(disk):
    folder = disk.path / "folder"
    folder.mkdir()
    (folder / "rows").write_bytes(b"first\n")

    def enter(context: Callable[[Path], object]) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            with context(path):
                pass

        return write

    disk.forbid(folder)
    try:
        for write in (lambda path: files.write_whole(path, b""), enter(locks.only_one), enter(files.whole_folder)):
            with pytest.raises(UserError) as caught:
                write(folder / "new")
            reason = "(Read-only file system|Permission denied)"
            line = rf"cannot write {folder}/new: {reason}; make {folder} writable, or choose another folder"
            assert re.fullmatch(line, str(caught.value))
        with pytest.raises(UserError, match=f"^cannot write {folder}: make it writable, or name another$"):
            space.ensure("this", folder / "not there" / "yet", 0, "name another")
    finally:
        disk.allow(folder)
    assert contents(folder) == {"rows": b"first\n"}
