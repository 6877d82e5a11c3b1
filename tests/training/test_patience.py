"""Early stopping: the step at which it ends a run, and a run that is killed and resumed is the undisturbed one."""

import math
from functools import partial
from unittest.mock import MagicMock

import pytest

from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.training.callbacks.patience import Patience
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train

from .killed_run import check_same, killed_at

HONEST = TranslationModule.on_validation_epoch_end
LOSSES = {2: 3.0, 4: 2.0, 6: 2.5, 8: 2.0, 10: 1.0}  # of the validations: two after step 4 are not lower


def validate(module: TranslationModule) -> None:
    HONEST(module)
    module.validation["loss"] = LOSSES[module.global_step]


@pytest.fixture
def patient(quick, monkeypatch) -> partial:
    """Makes the configuration of a run with these losses, in which 10 is the last step."""
    monkeypatch.setattr(TranslationModule, "on_validation_epoch_end", validate)
    return partial(quick, max_steps=10, val_every=2, precision="fp32")


@pytest.mark.parametrize(("patience", "end"), [(1, 6), (3, 10)])
def test_training_ends_after_so_many_validations_without_a_lower_loss(patient, tmp_path, capsys, spoil, patience, end):
    spoil({6: math.nan} if patience == 1 else {})
    train(patient(patience=patience, log_every=4), tmp_path)
    result = read_result(RunFolder(tmp_path))
    assert (result["steps"], result["ended_early"]) == (end, end < 10)
    assert result["skipped_updates"] == (1 if patience == 1 else 0)  # though no line was logged after it
    assert (f"after {end} steps, as the validation loss" in capsys.readouterr().out) == (end < 10)


def test_a_loss_that_is_no_number_is_not_the_lowest():
    module, trainer = MagicMock(), MagicMock()
    callback = Patience(module, 3)
    for loss in (math.nan, 5.0, 4.0, math.inf, 3.0):
        module.validation = {"loss": loss}
        callback.on_validation_end(trainer, module)
    assert (callback.lowest, callback.waited) == (3.0, 0)


def test_a_run_that_is_killed_ends_where_the_undisturbed_one_does(patient, tmp_path, monkeypatch):
    cfg = patient(patience=2)
    straight, killed = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "killed")
    train(cfg, straight.path)
    with killed_at(7):
        train(cfg, killed.path)
    train(cfg, killed.path)
    killed.result.unlink()  # as if it had been killed before it was scored
    with monkeypatch.context() as patch:
        patch.setattr(TranslationModule, "training_step", None)
        train(cfg, killed.path)
    check_same(killed.path, straight.path)
    assert read_result(killed)["steps"] == 8
