"""`trainer.ema`: an average of the weights that training does not see, and that validation and scores are of."""

import numpy as np
import pytest
import torch

from rope_mt.config.commands import EvalConfig, SearchChange
from rope_mt.config.training import SearchConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import read, read_training, select
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.training.train import train
from rope_mt.translation.evaluate import evaluate

from ..small import rows
from .killed_run import differences

STEPS, EVERY, DECAY = 24, 3, 0.8


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory) -> dict[str, RunFolder]:
    """The same training with and without a moving average, with the weights of all validated steps."""
    runs = {}
    for name, ema in (("plain", None), ("ema", DECAY)):
        runs[name] = RunFolder(tmp_path_factory.mktemp("outputs") / name)
        trainer = {"max_steps": STEPS, "val_every": EVERY, "val_sentences": 16, "average": STEPS, "log_every": 1}
        cfg = config("sixteen", "sixteen", ema=ema, precision="fp32", **trainer)
        cfg.optimizer.lr = 1e-2
        cfg.search = SearchConfig(beam=1, length_penalty=0.6, max_len_a=1.2, max_len_b=4)
        train(cfg, runs[name].path)
    return runs


def values(run: RunFolder, name: str) -> list[float]:
    return [row[name] for row in rows(run) if name in row]


def score(run: RunFolder, checkpoints: object) -> float:
    greedy = SearchChange(beam=1)
    return evaluate(EvalConfig(str(run.path), checkpoints, search=greedy, device="cpu", precision="fp32"))


def test_training_does_not_see_it(runs):
    ours, theirs = (select(run.path, STEPS)[0].weights for run in (runs["ema"], runs["plain"]))
    assert [*differences(ours, theirs)] == []
    assert values(runs["ema"], "train/loss") == values(runs["plain"], "train/loss")
    assert values(runs["ema"], "valid/loss") != values(runs["plain"], "valid/loss")


def test_it_is_the_recurrence_over_the_weights_after_each_step(config, tmp_path):
    train(config(max_steps=4, val_every=1, average=4, val_sentences=1, precision="fp32", ema=0.7), tmp_path)
    folders = checkpoint.saved(RunFolder(tmp_path))
    steps = [read(folder).weights for folder in folders]
    assert len(steps) == 4
    ema = read_training(folders[-1], "")["ema"]
    assert ema.keys() == steps[0].keys()
    for name, tensor in ema.items():
        average = steps[0][name].double().numpy()
        for weights in steps[1:]:
            average = 0.7 * average + 0.3 * weights[name].double().numpy()
        assert tensor.dtype == torch.float32
        np.testing.assert_allclose(tensor.numpy(), average, rtol=1e-5, atol=1e-6)


def test_the_final_score_is_of_it(runs):
    run = runs["ema"]
    last = checkpoint.latest(run)
    assert last
    averaged = read(run.average).weights
    for theirs in (read_training(last, "")["ema"], select(run.path, "ema")[0].weights):
        assert [*differences(averaged, theirs)] == []
    # the last validation was of the same weights and on the same sentences
    assert read_result(run)["valid"]["loss"] == pytest.approx(values(run, "valid/loss")[-1], rel=1e-6)
    assert score(run, "ema") == values(run, "valid/bleu")[-1]


@pytest.mark.parametrize("name", ["plain", "ema"])
def test_eval_of_the_best_gives_the_best_bleu_that_a_validation_found(runs, name):
    bleu = values(runs[name], "valid/bleu")
    assert len(set(bleu)) > 3
    assert score(runs[name], "best") == max(bleu)
    best, _ = select(runs[name].path, "best")
    assert best.step == EVERY * (bleu.index(max(bleu)) + 1)
    in_training = select(runs[name].path, best.step)[0].weights
    assert all(torch.equal(best.weights[key], in_training[key]) for key in in_training) == (name == "plain")


def test_a_run_without_one_has_none_to_evaluate(runs):
    with pytest.raises(UserError, match=r"holds no moving average: .*trainer\.ema"):
        select(runs["plain"].path, "ema")


def test_a_decay_of_0_means_none(config):
    assert config(ema=0.0).trainer == config().trainer
