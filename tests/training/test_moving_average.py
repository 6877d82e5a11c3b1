"""`trainer.ema`: an average beside the training, which it leaves alone, and which validation and scores are of."""

import json

import numpy as np
import pytest
import torch

from rope_mt.config.commands import EvalConfig, SearchChange
from rope_mt.config.training import SearchConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.training.train import train
from rope_mt.translation.evaluate import evaluate

STEPS, DECAY = 30, 0.8


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory) -> dict[str, RunFolder]:
    """The same training with and without a moving average, all weights of which are kept."""
    outputs = tmp_path_factory.mktemp("outputs")
    made = {"plain": None, "ema": DECAY}
    for name, ema in made.items():
        settings = {"max_steps": STEPS, "val_every": 3, "average": STEPS, "precision": "fp32", "log_every": 1}
        cfg = config("sixteen", "sixteen", ema=ema, **settings)
        cfg.optimizer.lr = 1e-2
        cfg.search = SearchConfig(beam=1, length_penalty=0.6, max_len_a=1.2, max_len_b=4)
        train(cfg, outputs / name)
    return {name: RunFolder(outputs / name) for name in made}


def rows(run: RunFolder, name: str) -> list[float]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [row[name] for row in lines if name in row]


def full(run: RunFolder) -> dict:
    return checkpoint.read(run.checkpoints / f"step-{STEPS:07d}.ckpt")


def score(run: RunFolder, checkpoints: object) -> float:
    greedy = SearchChange(beam=1)
    return evaluate(EvalConfig(str(run.path), checkpoints, search=greedy, device="cpu", precision="fp32"))


def test_training_does_not_see_it(runs):
    ours, theirs = full(runs["ema"]), full(runs["plain"])
    assert "ema" not in theirs
    for name, weights in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], weights), name
    assert rows(runs["ema"], "train/loss") == rows(runs["plain"], "train/loss")
    assert rows(runs["ema"], "valid/loss") != rows(runs["plain"], "valid/loss")


def test_it_is_the_recurrence_over_the_weights_after_each_step(config, tmp_path):
    train(config(max_steps=5, val_every=1, average=5, val_sentences=1, precision="fp32", ema=0.7), tmp_path)
    steps = [checkpoint.read(file)["state_dict"] for file in sorted(tmp_path.glob("checkpoints/weights-*.ckpt"))]
    assert len(steps) == 5
    found = checkpoint.read(tmp_path / "checkpoints" / "step-0000005.ckpt")["ema"]
    for name, tensor in found.items():
        average = steps[0][name].double().numpy()
        for weights in steps[1:]:
            average = 0.7 * average + 0.3 * weights[name].double().numpy()
        assert tensor.dtype == torch.float32
        np.testing.assert_allclose(tensor.numpy(), average, rtol=1e-5, atol=1e-6)
    assert found.keys() == steps[0].keys()


def test_the_final_score_is_of_it(runs):
    average, ema = checkpoint.read(runs["ema"].average)["state_dict"], full(runs["ema"])["ema"]
    assert all(torch.equal(average[name], weights) for name, weights in ema.items())
    result = json.loads(runs["ema"].result.read_text())
    # the last validation was of the same weights and on the same sentences
    assert result["valid"]["loss"] == pytest.approx(rows(runs["ema"], "valid/loss")[-1], rel=1e-6)
    assert score(runs["ema"], "ema") == score(runs["ema"], "average") == rows(runs["ema"], "valid/bleu")[-1]


@pytest.mark.parametrize("name", ["plain", "ema"])
def test_eval_of_the_best_gives_the_best_bleu_that_a_validation_found(runs, name):
    bleu = rows(runs[name], "valid/bleu")
    assert len(set(bleu)) > 3
    assert score(runs[name], "best") == max(bleu)
    step = 3 * (bleu.index(max(bleu)) + 1)
    best = checkpoint.read(runs[name].best)
    assert best["global_step"] == step
    raw = checkpoint.read(runs[name].checkpoints / f"weights-{step:07d}.ckpt")["state_dict"]
    assert all(torch.equal(best["state_dict"][key], raw[key]) for key in raw) == (name == "plain")


def test_a_run_without_one_has_none_to_evaluate(runs):
    with pytest.raises(UserError, match=r"holds no moving average: .*trainer\.ema"):
        score(runs["plain"], "ema")


def test_no_decay_is_none_and_a_wrong_one_is_refused(config):
    assert config(ema=0.0).trainer == config().trainer
    for wrong in (1.0, -0.1):
        with pytest.raises(UserError, match=r"trainer\.ema must be at least 0 and below 1"):
            config(ema=wrong)
