"""A disk that fills up while a run is trained on it: the run ends with one line, and later as if it had had room."""

import os
import re

import pytest

from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder, begin
from rope_mt.system import disk as space
from rope_mt.training import train as training
from rope_mt.training.train import train

from .killed_run import check_same

FULL = os.strerror(28)


@pytest.mark.parametrize("disk", ["played"], indirect=True)
def test_a_run_continues_after_every_full_disk_to_the_same_end(config, disk, tmp_path, monkeypatch):
    """Others fill the disk when the run begins. A checkpoint takes 0.5 MB, and one to resume from 1.4 MB."""
    run, honest = RunFolder(disk.path / "run"), space.ensure
    cfg = config(max_steps=3, val_every=1, val_sentences=1, log_every=1, average=2, precision="fp32")
    train(cfg, tmp_path / "undisturbed")
    line = rf"cannot write {run.path}/(\S+): {FULL}; it needs \S+ \w+, \S+ \w+ are free: make room, and .* again"
    for room, name in (
        (100, "config.yaml"),
        (50_000_000, "metrics.jsonl"),
        (400_000, "checkpoints/best-0000001"),
        (1_000_000, "checkpoints/step-0000001"),
        (3_500_000, "checkpoints/step-0000003"),
        (1_600_000, "checkpoints/average"),
    ):

        def ensure(*args, room=room):
            line = honest(*args)
            disk.leave(room)
            return line

        def begin_first(*args, name=name):
            begin(*args)
            if name == "metrics.jsonl":
                disk.leave(100)

        monkeypatch.setattr(space, "ensure", ensure)
        monkeypatch.setattr(training, "begin", begin_first)
        disk.make_room()
        with pytest.raises(UserError) as full:
            train(cfg, run.path)
        match = re.fullmatch(line, str(full.value))
        assert match, full.value
        assert match[1] == name
        assert not [path for path in run.path.rglob(".*") if path.name != ".lock"]
        for folder in run.checkpoints.glob("*"):  # a run that has not begun leaves no folder
            checkpoint.read(folder)
    disk.make_room()
    monkeypatch.undo()
    train(cfg, run.path)
    check_same(run.path, tmp_path / "undisturbed")
