"""A full disk and a folder that cannot be written: one line that says so; what was there stays, and nothing half."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rope_mt.config.training import TrackingConfig
from rope_mt.errors import UserError
from rope_mt.runs.tracking import Tracker, track
from rope_mt.system import disk as space
from rope_mt.system import files as durable
from rope_mt.system.locks import only_one
from rope_mt.system.manifest import write_manifest

FULL = os.strerror(28)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.name != ".fill"}


def save_text(path: Path) -> None:
    durable.write_whole(path, "ü" * 70_000)


@pytest.mark.parametrize("write", [save_text])
@pytest.mark.parametrize("left", [0, 50_000, 130_000])
def test_a_file_that_does_not_fit_leaves_the_one_before_and_says_what_it_needs(disk, write, left):
    path = disk.path / "file"
    path.write_bytes(b"before")
    disk.leave(left)
    with pytest.raises(UserError) as caught:
        write(path)
    assert files(disk.path) == {"file": b"before"}
    disk.make_room()
    write(path)
    needs = space.size_text(path.stat().st_size)
    said = rf"cannot write {path}: {FULL}; it needs {needs}, \S+ \w+ are free: make room, and give the same command"
    assert re.fullmatch(f"{said} again", str(caught.value))
    assert list(files(disk.path)) == ["file"]


def test_a_row_is_added_whole_or_not_at_all(disk):
    path = disk.path / "rows"
    size = durable.append(path, b"first\n")
    disk.leave(6_000)
    with pytest.raises(UserError, match=f"^cannot write {path}: {FULL}; it needs 20 kB, "):
        durable.append(path, b"x" * 20_000)
    assert path.read_bytes() == b"first\n"
    disk.make_room()
    assert durable.append(path, b"second\n", to_disk=True) == size + 7
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_folder_that_does_not_fit_is_gone_and_its_file_has_its_last_name(disk):
    path = disk.path / "model"

    def fill():
        with durable.whole_folder(path) as unfinished:
            (unfinished / "small").write_bytes(b"small")
            durable.write_whole(unfinished / "weights", b"x" * 100_000)

    disk.leave(40_000)
    with pytest.raises(UserError, match=f"^cannot write {path}/weights: {FULL}; it needs 100 kB, "):
        fill()
    assert files(disk.path) == {}
    disk.make_room()
    fill()
    assert len(files(path)) == 2


def test_what_cannot_be_written_is_named_with_what_to_do(disk):
    folder = disk.path / "folder"
    folder.mkdir()
    (folder / "rows").write_bytes(b"first\n")

    def lock():
        with only_one(folder / "lock"):
            pass

    def make():
        with durable.whole_folder(folder / "made"):
            pass

    ways = {
        folder / "file": lambda: durable.write_whole(folder / "file", b""),
        folder / "lock": lock,
        folder / "made": make,
    }
    disk.forbid(folder)
    try:
        for path, way in ways.items():
            with pytest.raises(UserError) as caught:
                way()
            why = "(Read-only file system|Permission denied)"
            line = rf"cannot write {path}: {why}; make {folder} writable, or choose another folder"
            assert re.fullmatch(line, str(caught.value))
        with pytest.raises(UserError, match=f"^cannot write {folder}: make it writable, or name another$"):
            space.ensure("this", folder / "not there" / "yet", 0, "name another")
    finally:
        disk.allow(folder)
    assert files(folder) == {"rows": b"first\n"}


def test_work_that_does_not_fit_is_refused_and_what_lies_there_needs_no_room_again(disk):
    folder = disk.path / "not there" / "yet"
    disk.leave(1_000_000)
    free = space.free(folder)
    assert free == pytest.approx(1_000_000, abs=8192)
    assert "takes up to " in space.ensure("it", folder, free, "go")
    with pytest.raises(UserError) as caught:
        space.ensure("it", folder, free + 1, "go elsewhere")
    amounts = r"0 bytes are there, \S+ [kM]B are free: make room for 1 bytes more"
    told = rf"it takes up to \S+ [kM]B of disk in {folder}; {amounts}, or go elsewhere"
    assert re.fullmatch(told, str(caught.value))
    folder.mkdir(parents=True)
    durable.write_whole(folder / "done", b"x" * 8192)
    (folder / ".killed").write_bytes(b"x")
    assert space.used(folder) == 8192
    space.ensure("it", folder, space.free(folder) + 8192, "go")
    with pytest.raises(UserError):
        space.ensure("it", folder, space.free(folder) + 8193, "go")


@pytest.mark.parametrize("stderr_is_full", [False, True])
def test_output_that_cannot_be_written_is_one_line_and_without_a_place_for_it_an_exit_code(tmp_path, stderr_is_full):
    said = Path("/dev/full") if stderr_is_full else tmp_path / "err"
    with open("/dev/full", "wb") as out, open(said, "wb") as err:
        done = subprocess.run([sys.executable, "-m", "rope_mt", "--help"], stdout=out, stderr=err, check=False)
    assert done.returncode == 2
    line = f"rope-mt: cannot write standard output or a file: {FULL}: make room, and give the same command again\n"
    assert stderr_is_full or said.read_text() == line


def test_a_job_goes_on_untracked_where_wandb_cannot_write(tmp_path, monkeypatch, capsys):
    def init(**about):
        raise OSError(28, FULL, "wandb")

    monkeypatch.setattr("rope_mt.runs.wandb_client._setup", lambda mode: "offline")
    monkeypatch.setattr("wandb.init", init)
    with track(TrackingConfig(mode="offline"), tmp_path / "run", {}, tags=[]) as tracker:
        tracker.log({"valid/bleu": 1.0}, 1)
    assert tracker.where() == ""
    assert capsys.readouterr().err == f"W&B: [Errno 28] {FULL}: 'wandb'; this job is not tracked\n"


def test_a_job_goes_on_where_what_wandb_was_told_cannot_be_remembered(disk, capsys):
    folder = disk.path / "run"
    write_manifest(folder / "run.json", {"key": "0a"})
    tracker = Tracker(SimpleNamespace(log=lambda row: None, summary={}), folder)
    disk.leave(0)
    tracker.log({"valid/bleu": 1.0}, 1)
    assert capsys.readouterr().err.startswith(f"W&B: cannot write {folder}/run.json: {FULL}; it needs ")
    disk.make_room()
    tracker.log({"valid/bleu": 0.5}, 2)
    assert tracker.run.summary == {"valid/bleu": {"max": 0.5}}
    assert capsys.readouterr().err == ""
