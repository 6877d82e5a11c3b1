"""Mistakes that would end a run after hours are told in one line before anything is trained or prepared."""

import re
from dataclasses import replace

import pytest
import torch

from rope_mt.config.position import POSITION_CONFIGS, LearnedConfig, PositionsConfig, RelativeConfig
from rope_mt.data.tokenizer import PAD
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer
from rope_mt.position import SCHEMES
from rope_mt.runs.folder import RunFolder
from rope_mt.system import disk
from rope_mt.training import module, precision
from rope_mt.training.callbacks import checkpoints
from rope_mt.training.checks import parameters_of
from rope_mt.training.train import train

from ..small import write_pairs

NAMES = "data.further_tests must be prefixes with names of their own"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"further_tests": ["a/x", "b/x"]}, NAMES),
        ({"further_tests": ["a/x", "b/X"]}, NAMES),
        ({"further_tests": ["a/test"]}, NAMES),
        ({"further_tests": ["a/Valid"]}, NAMES),
        ({"further_tests": ["a/test-joined-2"]}, NAMES),
        ({"further_tests": ["a/*"]}, NAMES),
        ({"further_tests": ["a/nowhere"]}, "no such text: a/nowhere; give FILE.tsv"),
        ({"joined_tests": [1]}, "data.joined_tests must be rising numbers from 2 on"),
        ({"joined_tests": [4, 2]}, "data.joined_tests must be rising numbers from 2 on"),
        ({"joined_tests": [9]}, "the test set has 8 lines, too few to join 9: lower data.joined_tests"),
    ],
)
def test_wrong_additional_test_sets(quick, tmp_path, settings, message):
    cfg = quick()
    with pytest.raises(UserError, match=f"^[^\n]*{re.escape(message)}[^\n]*$"):
        train(replace(cfg, data=replace(cfg.data, **settings)), tmp_path / "run")
    assert not RunFolder(tmp_path / "run").config.exists()


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize(
    ("name", "message"),
    [("subwords", "subwords.de, line 1, has the subword mark"), ("tokens", "tokens.de are tokenised")],
)
def test_references_that_are_not_raw_text(quick, text, tmp_path, part, name, message):
    """The text is not prepared either, which can take an hour."""
    sentences = (text / "valid.de").read_text(encoding="utf-8").splitlines() * 2
    lines = [f"{line[:2]}@@ {line[2:]}" if name == "subwords" else line[:-1] + " ." for line in sentences]
    cfg = quick(precision="fp32")  # else the answer which precision is faster is kept there
    setattr(cfg.data, part, [write_pairs(tmp_path / name, [("A dog.", line) for line in lines])])
    cfg.data.dir = str(tmp_path / "data")
    with pytest.raises(UserError, match=message):
        train(cfg, tmp_path / "run")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("position", "n_layers", "message"),
    [
        (LearnedConfig(max_len=20), 1, "this model's positions end at 20"),
        (RelativeConfig(), 10**8, r"^the weights of [\d,]{17} parameters take .*: choose a smaller model$"),
    ],
)
def test_models_that_cannot_be_trained(quick, tmp_path, position, n_layers, message):
    cfg = quick()
    cfg.position, cfg.data.max_len, cfg.model.n_layers = position, 20, n_layers
    with pytest.raises(UserError, match=message):
        train(cfg, tmp_path)
    assert not RunFolder(tmp_path).metrics.exists()


def test_a_model_for_which_no_memory_is_left_is_told(quick, tmp_path, monkeypatch):
    """Others may hold what this machine has. A precision that is not given is timed with a model, too."""
    for at in (precision, module):
        monkeypatch.setattr(at, "Transformer", lambda *_: torch.empty(1 << 60))
    for work in (lambda: precision.step_seconds(quick()), lambda: train(quick(precision="fp32"), tmp_path)):
        with pytest.raises(UserError, match=r"^out of memory making the model: choose a smaller one$"):
            work()


@pytest.mark.parametrize("name", SCHEMES)
def test_the_parameters_of_a_model_follow_from_those_of_one_and_two_layers(quick, name):
    cfg = quick()
    cfg.position, cfg.model.n_layers = POSITION_CONFIGS[name](), 4
    model = Transformer(cfg.model, cfg.position, vocab_size=50, pad=PAD)
    assert parameters_of(cfg, 50) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("training_step", r"out of memory training on a batch of \d+ pairs, \d+ tokens wide at the source and \d+ at"),
        ("validation_step", r"out of memory validating on a batch of 8 pairs.*data\.batch_tokens"),
    ],
)
def test_too_little_memory_is_told_with_the_batch_and_the_setting(quick, tmp_path, monkeypatch, where, message):
    honest = getattr(module.TranslationModule, where)

    def too_large(self, *given):
        honest(self, *given)
        return torch.empty(1 << 60)  # no machine has so much

    monkeypatch.setattr(module.TranslationModule, where, too_large)
    with pytest.raises(UserError, match=message):
        train(quick(), tmp_path)


@pytest.mark.parametrize(("optimizer", "most"), [("adam", 1.15), ("muon", 1.6)])
def test_the_room_that_a_run_asks_for_is_about_the_room_that_it_takes(quick, monkeypatch, tmp_path, optimizer, most):
    """Asked for before the first step, and compared with the files at each moment.

    Two numbers a weight are counted for the optimizer, and Muon has one.
    """
    run, cfg = RunFolder(tmp_path), quick(max_steps=4, val_every=1, ema=0.9, average=2)
    cfg.optimizer.name = optimizer
    asked, taken = [], []
    monkeypatch.setattr(disk, "ensure", lambda *args: asked.append(args))

    def seen(honest):
        def work(*args):
            honest(*args)
            taken.append(disk.used(run.checkpoints))

        return work

    for owner in (checkpoints, checkpoints.checkpoint):
        monkeypatch.setattr(owner, "write", seen(owner.write))
    train(cfg, run.path)
    [needed] = [needed for work, folder, needed, _ in asked if work == "this run" and folder == run.checkpoints]
    assert max(taken) <= needed <= most * max(taken)


def test_a_run_for_which_there_is_no_room(quick, disk):
    """It is refused before its first step."""
    run = RunFolder(disk.path / "run")
    disk.leave(1_500_000)
    line = r"^this run takes up to \d\.\d MB of disk .* room for \S+ MB more, or .*run\.dir="
    with pytest.raises(UserError, match=line):
        train(quick(max_steps=8), run.path)
    assert not run.path.exists()


def test_pairs_that_are_left_out_are_told(quick, tmp_path, capsys):
    cfg = quick()
    cfg.data.max_len = 30
    train(cfg, tmp_path / "two")
    [left_out] = re.findall(r"(\d+) of 120 training pairs have more than data.max_len=30", capsys.readouterr().out)
    assert 0 < int(left_out) < 120


def test_a_test_set_with_more_tokens_than_there_are_random_positions(quick, tmp_path):
    cfg = quick()
    cfg.data.max_len = 12
    cfg.positions = PositionsConfig("random", 13, "random")
    with pytest.raises(UserError, match=r"^a source of validation or test has .* and positions\.reach=13 gives"):
        train(cfg, tmp_path / "run")
    assert not (tmp_path / "run").exists()
