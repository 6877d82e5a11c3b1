"""A run of another length goes on from one whose updates are its own, and is told why from no other."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from rope_mt.config.training import OptimizerConfig
from rope_mt.runs import checkpoint, code
from rope_mt.runs.folder import RunFolder
from rope_mt.system.files import remove_tree
from rope_mt.system.locks import alone
from rope_mt.training.train import train

from ..small import rows
from .killed_run import check_same, killed_at

FLAT = OptimizerConfig(4e-3, 2, schedule="linear", cooldown=0.25)  # falls in the last quarter of the steps
MUON = OptimizerConfig(4e-3, 3, "muon", muon_lr=2e-2)


@pytest.mark.parametrize(
    ("first", "killed", "more"),
    [
        (4, 4, {}),
        (4, 4, {"trainer": {"ema": 0.9, "patience": 9}, "optimizer": MUON}),
        (12, 4, {"optimizer": FLAT}),  # ended by a kill before its rate falls
    ],
)
def test_more_steps_go_on_from_the_run_that_has_fewer_to_the_same_bits(config, tmp_path, capsys, first, killed, more):
    def settings(steps):
        cfg = config(max_steps=steps, val_every=2, average=2, log_every=1, **more.get("trainer", {}))
        return replace(cfg, **({"optimizer": more["optimizer"]} if "optimizer" in more else {}))

    train(settings(8), tmp_path / "straight" / "run")
    with killed_at(killed) if killed < first else nullcontext():
        train(settings(first), tmp_path / "beside" / "short")
    before = {path: path.read_bytes() for path in (tmp_path / "beside" / "short").rglob("*") if path.is_file()}
    with killed_at(6):  # it goes on by itself when it has begun
        train(settings(8), tmp_path / "beside" / "run")
    assert f"its first {killed} steps are those of {tmp_path}/beside/short" in capsys.readouterr().out
    train(settings(8), tmp_path / "beside" / "run")
    check_same(tmp_path / "beside" / "run", tmp_path / "straight" / "run")
    assert [row["step"] for row in rows(RunFolder(tmp_path / "beside" / "run"))][:3] == [1, 2, 2]
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("why", "settings", "reason"),
    [
        ("schedule", {"max_steps": 5}, "optimizer.schedule=linear depends on trainer.max_steps; runs with optimizer.s"),
        ("next rate", {"max_steps": 5}, "optimizer.schedule=linear depends on trainer.max_steps; runs with optimizer."),
        ("code", {"max_steps": 5}, "the other one was made with other code, rope_mt/model/loss.py"),
        ("pruned", {"max_steps": 5}, "the other one has no checkpoint to resume from"),
        ("held", {"max_steps": 5}, "the other one is being trained"),
        ("shorter", {"max_steps": 1}, "the last checkpoint of the other one is of step 2"),
        ("odd", {"max_steps": 5, "val_every": 3}, "the other one ends at 2, which is no multiple of trainer.val_every"),
    ],
)
def test_it_is_told_why_a_run_goes_on_from_no_other(config, tmp_path, monkeypatch, capsys, why, settings, reason):
    cfg = config(**{"max_steps": 2, "val_every": 2, "val_sentences": 1, **settings})
    linear = why in ("schedule", "next rate")
    cfg.optimizer = OptimizerConfig(4e-3, 1, schedule="linear" if linear else "inverse-sqrt")
    other = RunFolder(tmp_path / "other")
    if why == "next rate":  # both have the peak up to the second update, and the other one had it in the third
        cfg.optimizer.cooldown = 0.6
        with killed_at(2):
            train(replace(cfg, trainer=replace(cfg.trainer, max_steps=2 * cfg.trainer.max_steps)), other.path)
    else:
        train(replace(cfg, trainer=replace(cfg.trainer, max_steps=2)), other.path)
    if why == "code":
        changed = {**code.checksums(), "model/loss.py": "00000000"}
        monkeypatch.setattr(code, "checksums", lambda: changed)
    for folder in checkpoint.saved(other) if why == "pruned" else ():
        remove_tree(folder)
    with alone(other.lock, "training") if why == "held" else nullcontext(), killed_at(0):
        train(cfg, tmp_path / "new")
    steps = 10 if why == "next rate" else 2
    line = f"{other.path} is the same with trainer.max_steps={steps}, but this run begins at its first step: {reason}"
    assert line in capsys.readouterr().out
