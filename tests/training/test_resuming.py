"""A run that was killed ends as if nothing had happened, and one whose files were changed is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rope_mt.config.position import PositionsConfig
from rope_mt.config.training import OptimizerConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint, code
from rope_mt.runs.checkpoint import TRAINING, WEIGHTS
from rope_mt.runs.folder import RunFolder, begin, metrics_upto, open_run
from rope_mt.runs.result import read_result
from rope_mt.system.files import write_whole
from rope_mt.system.manifest import write_manifest
from rope_mt.training.train import train

from ..small import flip_a_bit, rows
from .killed_run import check_same, killed_at
from .test_checkpoints import ALTERED

MUON = OptimizerConfig(4e-3, 3, "muon", muon_lr=2e-2, weight_decay=0.1, schedule="linear")


@pytest.mark.parametrize(
    ("dies_in", "data", "trainer", "others"),
    [
        (0, {}, {}, {"positions": PositionsConfig("shifted", 90)}),
        (1, {}, {"ema": 0.9}, {}),
        (1, {"workers": 2}, {}, {}),
        (1, {"workers": 2, "sampling": 0.1}, {}, {}),
        (1, {}, {"accumulate": 3, "ema": 0.9}, {"positions": PositionsConfig("random", 300)}),
        (0, {}, {}, {"optimizer": MUON}),
    ],
    ids=["epoch 0, shifted", "moving average", "workers", "sampled pieces", "batches accumulated, random", "muon"],
)
def test_a_run_that_was_killed_ends_as_if_nothing_had_happened(config, tmp_path, dies_in, data, trainer, others):
    """It dies in the step after its first checkpoint, in epoch 0 or a later one."""
    cfg = replace(config(max_steps=8, val_every=6, precision="fp32", log_every=1, **trainer), **others)
    cfg.data = replace(cfg.data, batch_tokens=5000 if dies_in else 1000, **data)
    train(replace(cfg, data=replace(cfg.data, workers=0)), tmp_path / "straight")
    with killed_at(7):
        train(cfg, tmp_path / "killed")
    run = RunFolder(tmp_path / "killed")
    assert checkpoint.latest(run) == run.checkpoints / "step-0000006"
    train(cfg, run.path)
    check_same(run.path, tmp_path / "straight")
    assert (max(row["epoch"] for row in rows(run) if row["step"] <= 6) >= 1) == bool(dies_in)


@pytest.fixture
def unfinished(finished) -> RunFolder:
    """A run that has all but its result."""
    run = RunFolder(finished)
    run.result.unlink()
    return run


@pytest.fixture
def half_done(unfinished) -> RunFolder:
    """A run that has made one of its two steps, if one believes the name of its checkpoint."""
    (unfinished.checkpoints / "step-0000002").rename(unfinished.checkpoints / "step-0000001")
    return unfinished


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        *((name, "start the run again with overwrite=true") for name in ("run.json", "config.yaml", "test.src")),
        # other files of a checkpoint: test_checkpoints.py
        *((f"checkpoints/step-0000001/{name}", "remove it to resume from the one") for name in (WEIGHTS, TRAINING)),
    ],
)
def test_a_run_whose_file_was_changed_is_not_resumed(quick, half_done, name, remedy):
    flip_a_bit(half_done.path / name)
    with pytest.raises(UserError, match=rf"^[^\n]*{name} [^\n]*: {remedy}"):
        train(quick(), half_done.path)


@pytest.mark.parametrize("change", ["seed", "the tokenizer"])
def test_a_checkpoint_of_other_settings_or_other_text_is_refused(quick, half_done, change):
    """Files of two runs were mixed, and each has its right checksum."""
    folder = half_done.checkpoints / "step-0000001"
    training = checkpoint.read_training(folder, "")
    checkpoint.write(folder, ALTERED[change](checkpoint.read(folder)), training)
    with pytest.raises(UserError, match="step-0000001 is of a run with other settings or other text: start the run"):
        train(quick(), half_done.path)


def test_a_lost_file_that_the_run_needs_is_named(config, tmp_path):
    cfg, run = config(max_steps=2, val_every=1, val_sentences=1, average=2), RunFolder(tmp_path)
    train(cfg, run.path)
    run.result.unlink()
    for path in (run.checkpoints / "step-0000001", run.test_ref):  # a mean without one would be another run's
        path.rename(tmp_path / "away")
        with pytest.raises(UserError, match=rf"^{path} is gone.*overwrite=true$"):
            train(cfg, run.path)
        (tmp_path / "away").rename(path)
    for name in ("step-old", "step-0000002 (copy)"):  # what a user puts there stays
        (run.checkpoints / name).mkdir()
    train(cfg, run.path)
    assert run.result.is_file()
    assert (run.checkpoints / "step-old").is_dir()


def test_rows_of_metrics_are_kept_unless_one_is_damaged_that_no_kill_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    assert metrics_upto(path, 2) == [{"step": 1}, {"step": 2}]
    for damaged in ('{"step": 1}\n{"ste\n{"step": 3}\n', "{}\n[]\n", '{"step": "x"}\n', "\xff\n", '{"a": 1}\n'):
        path.write_bytes(damaged.encode("latin1"))
        with pytest.raises(UserError, match=r"metrics\.jsonl, line [12], is damaged: start the run again"):
            metrics_upto(path, 2)


def test_a_folder_with_another_run_is_left_alone(quick, finished):
    with pytest.raises(UserError, match=f"^{finished} holds another run .*: choose another folder, or overwrite=true"):
        train(quick(max_steps=3), finished)


@pytest.mark.parametrize("killed_at", [0, 1, 3, 6])
def test_overwriting_that_is_killed_is_done_in_the_end(quick, tmp_path, monkeypatch, killed_at):
    """It is killed before the removal of this number: first checkpoints go, and run.json last."""
    run, cfg = RunFolder(tmp_path), quick()
    write_manifest(run.identity, {"key": "old"})
    write_whole(run.checkpoints / "average" / WEIGHTS, "")
    for file in (run.metrics, run.config, run.test_src, run.test_ref, run.test_hyp, run.result):
        write_whole(file, "")
    cfg.overwrite = True
    removed = []

    def counted(honest):
        def remove(path, *rest, **named):
            if len(removed) == killed_at:
                raise KeyboardInterrupt
            removed.append(path)
            honest(path, *rest, **named)

        return remove

    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    with pytest.raises(KeyboardInterrupt):
        begin(run, cfg, "new", ([], []), {})
    monkeypatch.undo()
    open_run(run, cfg, "new")
    begin(run, cfg, "new", ([], []), {})
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*run.began_with, run.identity}


def test_overwriting_is_refused_before_anything_of_the_old_run_is_gone(quick, finished, monkeypatch):
    before = {path: path.read_bytes() for path in finished.rglob("*.*") if path.is_file() and path.name != ".lock"}
    cfg = quick()
    cfg.overwrite = True
    monkeypatch.setattr("rope_mt.system.disk.free", lambda folder: 0)
    with pytest.raises(UserError, match="make room"):
        train(cfg, finished)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_other_code_is_named_by_the_command_by_a_resumed_run_and_in_its_result(quick, unfinished, monkeypatch, capsys):
    train(quick(), unfinished.path)
    assert "other code" not in capsys.readouterr().out
    changed = {**code.checksums(), "position/rotary.py": "00000000"}
    monkeypatch.setattr(code, "checksums", lambda: changed)
    train(quick(), unfinished.path)
    assert "it was made with other code: rope_mt/position/rotary.py" in capsys.readouterr().out
    unfinished.result.unlink()
    train(quick(), unfinished.path)
    assert "it began with other code: rope_mt/position/rotary.py" in capsys.readouterr().out
    assert read_result(unfinished)["changed_code"] == ["position/rotary.py"]
