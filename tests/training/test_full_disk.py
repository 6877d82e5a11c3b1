"""A disk that fills up while a run is trained on it: the run ends with a line, and later as if nothing had been."""

import json
import os
import re
from collections.abc import Callable

import pytest

from rope_mt.config.commands import TrainConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint, folder
from rope_mt.runs.folder import RunFolder
from rope_mt.system import disk as space
from rope_mt.training import train as training
from rope_mt.training.train import train

FULL = os.strerror(28)


@pytest.fixture(scope="module")
def small(config) -> Callable[..., TrainConfig]:
    """The configuration of four validations with as little as possible between them."""

    def settings(**trainer) -> TrainConfig:
        few = {"max_steps": 8, "val_every": 2, "val_sentences": 1, "log_every": 1, "average": 2, "precision": "fp32"}
        cfg = config(**{**few, **trainer})
        cfg.search.max_len_a, cfg.search.max_len_b = 0.2, 2  # an untrained model finds no end
        return cfg

    return settings


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("undisturbed") / "run")
    train(small(), run.path)
    return run


def without_times(values: dict) -> dict:
    return {name: value for name, value in values.items() if not re.search("second|memory|files|checksum", name)}


def outcome(run: RunFolder) -> dict:
    """All that a run leaves, without what tells the time, and digests of files that do."""
    rows = [without_times(json.loads(row)) for row in run.metrics.read_text().splitlines()]
    weights = {name: tensor.tolist() for name, tensor in checkpoint.load(run.average).weights.items()}
    names = sorted(path.name for path in run.path.rglob("*") if path.name != ".lock")
    return {
        "rows": rows,
        **{f"the {name}": value for name, value in without_times(json.loads(run.result.read_text())).items()},
        "weights": weights,
        "hypotheses": run.test_hyp.read_text(),
        "files": names,
    }


@pytest.mark.parametrize("disk", ["played"], indirect=True)
def test_a_run_goes_on_from_every_full_disk_to_the_same_end(small, disk, undisturbed, monkeypatch):
    """Others fill the disk once the run has begun. Weights are 0.45 MB, and a checkpoint in full is 1.36 MB."""
    run = RunFolder(disk.path / "run")
    told, honest, honest_begin = [], space.ensure, folder.begin
    rooms = [100, 1_000_000, 700_000, 2_900_000, 3_800_000, 2_000_000]

    def ensure(*args):
        said = honest(*args)
        disk.leave(rooms.pop(0))
        return said

    def begin(*args):
        honest_begin(*args)
        disk.leave(100)

    monkeypatch.setattr(space, "ensure", ensure)
    monkeypatch.setattr("rope_mt.training.train.begin", begin)
    line = rf"cannot write {run.path}/(\S+): {FULL}; it needs \S+ \w+, \S+ \w+ are free: make room, and .* again"
    while rooms:
        disk.make_room()
        with pytest.raises(UserError) as caught:
            train(small(), run.path)
        found = re.fullmatch(line, str(caught.value))
        assert found
        told.append(found[1])
        assert not [path for path in run.path.rglob(".*") if path.name != ".lock"]
        for path in run.checkpoints.iterdir():
            checkpoint.read(path)
    saved = [f"checkpoints/{name}.ckpt" for name in ("weights-0000002", "step-0000004", "weights-0000008", "average")]
    assert told == ["config.yaml", "metrics.jsonl", *saved]
    disk.make_room()
    monkeypatch.undo()
    train(small(), run.path)
    assert outcome(run) == outcome(undisturbed)


def test_the_room_that_a_run_is_said_to_take_is_about_what_it_takes(small, monkeypatch, tmp_path):
    """Told before the first step, and held against the files at each moment."""
    asked, most, honest = [], [0], checkpoint.write
    for name in ("adam", "muon"):
        run = RunFolder(tmp_path / name)
        cfg = small(max_steps=4, val_every=1, ema=0.9)
        cfg.optimizer.name = name
        monkeypatch.setattr(space, "ensure", lambda *args: asked.append(args))

        def write(path, values, run=run):
            honest(path, values)
            most[0] = max(most[0], space.used(run.checkpoints))

        monkeypatch.setattr(training.checkpoint, "write", write)
        monkeypatch.setattr("rope_mt.training.callbacks.checkpoints.write", write)
        train(cfg, run.path)
        [(_, folder, needed, _)] = [args for args in asked if args[0] == "this run"]
        assert folder == run.checkpoints
        assert most[0] <= needed < 1.05 * most[0]
        asked.clear()
        most[0] = 0


def test_a_run_for_which_there_is_no_room_is_refused_before_its_first_step(small, disk):
    run = RunFolder(disk.path / "run")
    cfg = small()
    disk.leave(3_000_000)
    said = r"^this run takes up to 6\.\d MB of disk in .*: make room for \S+ MB more, or .* hydra\.run\.dir=FOLDER, "
    with pytest.raises(UserError, match=said):
        train(cfg, run.path)
    assert not run.metrics.exists()
    assert not list(run.checkpoints.iterdir())
