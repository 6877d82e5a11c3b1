"""Training through the function that the command calls: it learns, and the same settings find the same run again."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rope_mt.cli.main import main
from rope_mt.config.plain import from_plain
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import OptimizerConfig, SearchConfig
from rope_mt.data.batches import PairDataset, Sentences
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.epoch import Rows
from rope_mt.data.prepared import Prepared
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.system.device import computing_in
from rope_mt.training.checks import files_of
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train
from rope_mt.translation.translator import Translator

from .killed_run import killed_at

ADAM = OptimizerConfig(lr=4e-3, warmup_steps=20, label_smoothing=0.0)
MUON = OptimizerConfig(1e-2, 10, "muon", schedule="linear", label_smoothing=0.0)
LEARNERS = [(name, "softmax", ADAM) for name in sorted(POSITION_CONFIGS)]
LEARNERS += [("rope", "linear", ADAM), ("rope", "softmax", MUON)]


@pytest.mark.parametrize(("scheme", "attention", "optimizer"), LEARNERS, ids=lambda x: getattr(x, "name", x))
def test_a_tiny_model_overfits_16_pairs(config, tmp_path, scheme, attention, optimizer):
    """In loss and greedy output: with a beam, a longer hypothesis may win by luck where the model knows all words."""
    steps = 60 if optimizer is MUON else 200 if scheme == "none" else 100  # without positions learning takes longer
    cfg = config("sixteen", "sixteen", scheme, max_steps=steps, val_every=steps, val_sentences=1, precision="fp32")
    cfg.search = SearchConfig(beam=1, length_penalty=0.0)
    cfg.model.attention, cfg.model.dropout, cfg.optimizer = attention, 0.0, optimizer
    cfg.model.n_layers = 2  # without positions, one causal layer cannot tell where it is
    if optimizer is MUON:
        cfg.model.norm = "pre"
    train(cfg, tmp_path)
    run = RunFolder(tmp_path)
    assert json.loads(run.result.read_text())["valid"]["loss"] < 0.1
    assert run.test_hyp.read_text(encoding="utf-8") == run.test_ref.read_text(encoding="utf-8")
    check_bf16(run)


def check_bf16(run: RunFolder) -> None:
    """On its test set a model predicts in bf16 what it predicts in fp32, and with the same loss."""
    ckpt = checkpoint.load(run.path)
    model = Translator.of(ckpt, ckpt.config.search, torch.device("cpu"), "fp32").model.eval()
    sides = [path.read_text(encoding="utf-8").splitlines() for path in (run.test_src, run.test_ref)]
    pairs = PairDataset(*(Sentences.of(ckpt.tokenizer.encode(side)) for side in sides))
    batch = pairs[Rows(np.arange(len(sides[0])), (100, 100), 0, 0)]
    losses, predictions = [], []
    for precision in ("fp32", "bf16"):
        with torch.inference_mode(), computing_in(precision, torch.device("cpu")):
            logits = model(batch.src, batch.tgt_in).flatten(0, 1)[batch.where].float()
        losses.append(F.cross_entropy(logits, batch.tgt_out).item())
        predictions.append(logits.argmax(-1))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert (predictions[0] == predictions[1]).float().mean() >= 0.98


def test_bf16_training_stays_close_to_fp32(config, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        train(config(max_steps=30, val_every=30, val_sentences=1, precision=precision), tmp_path / precision)
        losses[precision] = json.loads(RunFolder(tmp_path / precision).result.read_text())["valid"]["loss"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]


def test_the_same_command_finds_a_finished_run_and_overwrite_starts_again(quick, finished, capsys):
    run = RunFolder(finished)
    result = json.loads(run.result.read_text())
    weights = run.average / checkpoint.WEIGHTS
    before, content = weights.stat().st_mtime_ns, weights.read_bytes()
    assert train(quick(), finished) == result["valid"]["bleu"]
    assert "is finished" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == before
    cfg = quick()
    cfg.overwrite = True
    train(cfg, finished)
    assert weights.stat().st_mtime_ns != before
    assert weights.read_bytes() == content


def test_settings_that_cannot_change_a_result_make_no_other_run(quick, here):
    cfg = quick()
    train(cfg)
    cfg.data.workers, cfg.trainer.log_every, cfg.tracking.project = 1, 1, "another"
    train(cfg)
    [run] = (here / "outputs").iterdir()
    cfg.seed = 4
    train(cfg)
    [other] = {*(here / "outputs").iterdir()} - {run}
    assert (run.name[:-8], other.name[:-8]) == ("files-test-rope-s3-", "files-test-rope-s4-")


def test_training_shorter_than_a_validation_still_ends_with_scores(config, tmp_path):
    train(config(max_steps=1, val_every=100), tmp_path)
    result = json.loads(RunFolder(tmp_path).result.read_text())
    assert result["steps"] == 1
    assert result["valid"]["loss"] > 0


def test_seconds_are_those_of_training_and_of_validation_over_all_sessions(config, tmp_path, monkeypatch):
    """By a clock that a step moves by 1, a validation by 100, and nothing else: 4 steps and 2 validations."""
    now = 0.0

    def taking(seconds, honest):
        def work(*args):
            nonlocal now
            now += seconds
            return honest(*args)

        return work

    cfg = config(max_steps=4, val_every=2, val_sentences=1)
    monkeypatch.setattr("rope_mt.training.callbacks.report.time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(TranslationModule, "training_step", taking(1.0, TranslationModule.training_step))
    honest = TranslationModule.on_validation_epoch_end
    monkeypatch.setattr(TranslationModule, "on_validation_epoch_end", taking(100.0, honest))
    with killed_at(3):
        train(cfg, tmp_path)
    train(cfg, tmp_path)
    result = json.loads(RunFolder(tmp_path).result.read_text())
    assert (result["training_seconds"], result["validation_seconds"]) == (4, 200)


def test_a_dry_run_names_the_run_and_its_state_and_writes_nothing(small_run, here, capsys):
    words = ["train", *small_run, "trainer.max_steps=2", "trainer.val_every=2"]
    assert main([*words, "--dry-run"]) == 0
    named = re.search(r"run +(\S+) .*\nstate +would begin$", capsys.readouterr().out, re.MULTILINE)
    assert named
    assert not any(here.iterdir())
    assert main(words) == 0
    assert RunFolder(here / named[1]).result.is_file()
    capsys.readouterr()
    assert main(["train", "-m", *words[1:], "seed=1,2", "--dry-run"]) == 0
    states = re.findall(r"state +(.*)$", capsys.readouterr().out, re.MULTILINE)
    assert states == ["is finished: its result would be printed again", "would begin"]


def test_epochs_make_the_run_that_has_as_many_steps(small_run, here, capsys):
    assert main(["train", *small_run, "trainer.epochs=2"]) == 0
    steps = int(re.search(r"^training +(\d+) steps \(2 epochs\) of", capsys.readouterr().out, re.MULTILINE)[1])
    [run] = map(RunFolder, Path("outputs").iterdir())
    about = json.loads(run.identity.read_text())
    cfg = from_plain(about["config"])
    data = TranslationData(cfg.data, Prepared.read(Path(about["prepared"])), files_of(about)["valid"], cfg.seed)
    assert steps == 2 * len(data.plan) == json.loads(run.result.read_text())["steps"]
    assert main(["train", *small_run, f"trainer.max_steps={steps}"]) == 0
    assert f"{run.path} is finished" in capsys.readouterr().out
