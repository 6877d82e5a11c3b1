"""Updates whose loss or gradient is not finite are skipped and counted, and too many in a row end the run."""

import json
import math
import signal
from pathlib import Path

import pytest

from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.training import module, score
from rope_mt.training.train import train

from ..small import rows
from .killed_run import in_step, killed_at


@pytest.mark.parametrize("accumulate", [1, 2])
def test_they_are_counted_and_the_rest_is_trained(config, tmp_path, spoil, accumulate):
    spoil({3: math.nan, 5: math.inf}, batch=accumulate - 1)
    run = RunFolder(tmp_path)
    train(config(max_steps=6, val_every=3, val_sentences=1, log_every=1, accumulate=accumulate), run.path)
    reports = [row for row in rows(run) if "train/skipped" in row]
    assert [row["train/skipped"] for row in reports] == [0, 0, 1, 1, 2, 2]
    assert ["train/loss" in row for row in reports] == [True, True, False, True, False, True]
    assert all(math.isfinite(value) for row in reports for value in row.values())
    assert read_result(run)["skipped_updates"] == 2
    weights = checkpoint.load(tmp_path).weights.values()
    assert all(weight.isfinite().all() for weight in weights)


def test_their_number_outlives_an_interruption(config, tmp_path, spoil):
    cfg = config(max_steps=8, val_every=4, val_sentences=1, log_every=3, max_skipped=2)
    spoil(dict.fromkeys((3, 4), math.nan))
    with killed_at(4):
        train(cfg, tmp_path)
    spoil({5: math.nan})
    with pytest.raises(UserError, match="step 5: "):  # two of the three were before
        train(cfg, tmp_path)


def test_a_run_that_has_diverged_is_not_saved_to_go_on_when_a_signal_comes(config, tmp_path, spoil):
    spoil(dict.fromkeys((2, 3, 4), math.nan))
    comes = in_step(5, lambda: signal.raise_signal(signal.SIGTERM))  # the sixth, with none skipped since the fourth
    with comes, pytest.raises(UserError, match=r"^step 4: loss or gradient not finite in 3 steps in a row"):
        train(config(max_steps=20, val_every=20, log_every=20, max_skipped=2), tmp_path)
    assert not [*tmp_path.glob("checkpoints/*")]


def test_too_many_in_a_row_end_the_run_and_leave_the_batch(config, tmp_path, spoil):
    spoilt = spoil(dict.fromkeys((1, 2, 4, 5, 6), math.nan))
    with pytest.raises(UserError, match=r"not finite in 3 steps in a row.*lower optimizer\.lr") as refused:
        train(config(max_skipped=2), tmp_path)
    path = tmp_path / "skipped-0000006.json"
    assert str(path) in str(refused.value)
    skipped = json.loads(path.read_text())
    assert (skipped["step"], skipped["gradient_norm"]) == (6, "nan")
    [batch] = skipped["batches"]
    ids = [pair["src_ids"] for pair in batch]
    assert ids == [row[row != 0].tolist() for row in spoilt[-1]]
    [prefix] = config().data.train
    src, tgt = (Path(f"{prefix}.{lang}").read_text(encoding="utf-8").splitlines() for lang in ("en", "de"))
    assert {(pair["src"], pair["tgt"]) for pair in batch} <= {*zip(src, tgt, strict=True)}


def test_a_validation_loss_that_is_not_finite_is_told_in_words_and_null_in_files(quick, tmp_path, monkeypatch, capsys):
    honest = module.loss_of

    def loss_of(model, data, smoothing, **more):
        return honest(model, data, smoothing, **more) * (1 if model.training else -math.inf)

    monkeypatch.setattr(module, "loss_of", loss_of)
    monkeypatch.setattr(score, "loss_of", loss_of)
    run = RunFolder(tmp_path / "run")
    train(quick(), run.path)
    out = capsys.readouterr().out
    assert "loss not finite   perplexity 0.00" in out
    assert "the validation loss is not finite" in out
    for file in (*run.path.glob("*.json"), *run.checkpoints.rglob("*.json")):
        json.loads(file.read_text(), parse_constant=pytest.fail)
    validated = [row for row in rows(run) if "valid/loss" in row]
    assert (validated[0]["valid/loss"], validated[0]["valid/perplexity"]) == (None, 0.0)
    assert read_result(run)["valid"]["loss"] is None
    finished = FinishedRun.read(run.path)
    assert math.isnan(finished.figure("valid_loss"))
    assert math.isnan(finished.curves()["valid/loss"][0].value)
