"""Training through the function that the command calls: it learns, and what interrupts it changes nothing."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import SearchConfig
from rope_mt.data import corpus
from rope_mt.data.batches import PairDataset, Sentences
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.epoch import Rows
from rope_mt.data.prepare import prepare
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder, begin, open_run
from rope_mt.system.device import computing_in
from rope_mt.system.files import write_json, write_whole
from rope_mt.system.locks import alone
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train
from rope_mt.translation.translator import Translator


@pytest.mark.parametrize(
    ("scheme", "attention"), [*((name, "softmax") for name in sorted(POSITION_CONFIGS)), ("rope", "linear")]
)
def test_a_tiny_model_overfits_16_pairs(config, tmp_path, scheme, attention):
    cfg = config("sixteen", "sixteen", scheme, max_steps=100, val_every=100, average=1, precision="fp32")
    cfg.search = SearchConfig(beam=2, length_penalty=0.6)
    cfg.model.attention = attention
    cfg.model.dropout, cfg.optimizer.label_smoothing = 0.0, 0.0
    cfg.model.n_layers = 2  # without positions, one causal layer cannot tell where it is
    train(cfg, tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["valid"]["loss"] < 0.1
    assert result["test"]["bleu"] == pytest.approx(100)
    check_bf16(tmp_path)


def check_bf16(run: Path) -> None:
    """On its test set a model says the same in bf16 as in fp32, and is as sure of it."""
    ckpt = checkpoint.load(run)
    model = Translator.of(ckpt, ckpt.config.search, torch.device("cpu"), "fp32").model.eval()
    sides = [(run / f"test.{part}").read_text(encoding="utf-8").splitlines() for part in ("src", "ref")]
    pairs = PairDataset(*(Sentences.of(ckpt.tokenizer.encode(side)) for side in sides), most=100)
    batch = pairs[Rows(np.arange(len(sides[0])), 0, 0)]
    found = {}
    for precision in ("fp32", "bf16"):
        with torch.inference_mode(), computing_in(precision, torch.device("cpu")):
            logits = model(batch.src, batch.tgt_in).flatten(0, 1)[batch.where].float()
        found[precision] = (F.cross_entropy(logits, batch.tgt_out).item(), logits.argmax(-1))
    (loss, said), (bf16_loss, bf16_said) = found.values()
    assert bf16_loss == pytest.approx(loss, rel=0.01)
    assert (said == bf16_said).float().mean() >= 0.98


def final_state(folder: Path, step: int) -> dict:
    return checkpoint.read(folder / "checkpoints" / f"step-{step:07d}.ckpt")


def rows(folder: Path) -> list[dict]:
    """The metrics of a run without what depends on the clock or the process."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not re.search("second|memory", name)} for row in lines]


@pytest.mark.parametrize(
    ("last", "dies_at", "batch_tokens", "workers", "sampling", "ema", "accumulate"),
    [
        (8, 5, 1000, 0, 0.0, None, 1),
        (12, 11, 2000, 0, 0.0, 0.9, 1),
        (12, 11, 2000, 2, 0.0, None, 1),
        (12, 11, 2000, 2, 0.1, None, 1),
        (8, 7, 2000, 0, 0.0, 0.9, 3),
    ],
    ids=[
        "epoch 0",
        "a later epoch, moving average",
        "a later epoch, workers",
        "sampled pieces",
        "a later epoch, batches accumulated",
    ],
)
def test_a_run_that_was_killed_ends_as_if_nothing_had_been(
    config, tmp_path, kill_at, monkeypatch, last, dies_at, batch_tokens, workers, sampling, ema, accumulate
):
    cfg = config(max_steps=last, precision="fp32", ema=ema, accumulate=accumulate)
    cfg.data.batch_tokens, cfg.data.workers, cfg.data.sampling = batch_tokens, workers, sampling
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    train(cfg, straight)
    with pytest.raises(kill_at(dies_at)):
        train(cfg, killed)
    monkeypatch.undo()
    resumed_from = max(killed.glob("checkpoints/step-*.ckpt")).name
    assert resumed_from == f"step-{dies_at // 4 * 4:07d}.ckpt"
    train(cfg, killed)

    ours, theirs = final_state(killed, last), final_state(straight, last)
    assert ("ema" in theirs) == (ema is not None)
    for kind in ("state_dict", "ema") if ema else ("state_dict",):
        for name, weights in theirs[kind].items():
            assert torch.equal(ours[kind][name], weights), (kind, name)
    for index, moments in theirs["optimizer_states"][0]["state"].items():
        for name, values in moments.items():
            assert torch.equal(ours["optimizer_states"][0]["state"][index][name], values)
    assert rows(killed) == rows(straight)
    assert (killed / "test.hyp").read_bytes() == (straight / "test.hyp").read_bytes()
    epochs = [row["epoch"] for row in rows(straight) if "train/loss" in row and row["step"] <= dies_at // 4 * 4]
    assert (max(epochs) >= 1) == (batch_tokens == 2000)


def test_the_rows_tell_the_epoch_that_they_are_of(config, tmp_path):
    """Epochs are of different lengths, and Lightning counts what goes beyond the first one's as an epoch of its own."""
    cfg = config(max_steps=70, val_every=70, log_every=1)
    cfg.data.batch_tokens = 514
    located = corpus.locate(cfg.data)
    prepared = prepare(cfg.data, located)
    lengths = [0]
    while max(lengths[1:3], default=0) <= lengths[0]:
        cfg.seed += 1
        plan = TranslationData(cfg.data, prepared, located.valid, cfg.seed).plan
        lengths = []
        for plan.epoch in range(8):
            lengths.append(len(plan))
    train(cfg, tmp_path)
    expected = [epoch for epoch, length in enumerate(lengths) for _ in range(length)]
    assert [row["epoch"] for row in rows(tmp_path) if "train/loss" in row] == expected[:70]


def test_the_same_command_finds_a_finished_run_and_overwrite_starts_again(config, tmp_path, capsys):
    cfg = config()
    bleu = train(cfg, tmp_path)
    weights = (tmp_path / "checkpoints" / "average.ckpt").stat().st_mtime_ns
    assert train(cfg, tmp_path) == bleu
    assert "is finished" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "average.ckpt").stat().st_mtime_ns == weights
    cfg.overwrite = True
    assert train(cfg, tmp_path) == bleu
    assert (tmp_path / "checkpoints" / "average.ckpt").stat().st_mtime_ns != weights


def test_a_folder_with_another_run_is_left_alone(config, tmp_path):
    train(config(max_steps=2), tmp_path)
    with pytest.raises(UserError, match="another run"):
        train(config(max_steps=3), tmp_path)


def test_what_cannot_change_a_result_makes_no_other_run(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config(max_steps=2)
    train(cfg)
    cfg.data.workers, cfg.trainer.log_every, cfg.tracking.project = 1, 1, "another"
    train(cfg)
    assert len(list((tmp_path / "outputs").iterdir())) == 1
    cfg.seed = 4
    train(cfg)
    assert len(list((tmp_path / "outputs").iterdir())) == 2


def test_a_table_too_short_for_a_test_set_is_said_before_training(config, tmp_path):
    cfg = config(scheme="learned")
    cfg.position.max_len = cfg.data.max_len = 20
    with pytest.raises(UserError, match=r"this model's positions end at 20"):
        train(cfg, tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_training_shorter_than_a_validation_still_ends_with_scores(config, tmp_path):
    train(config(max_steps=3, val_every=100), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["steps"] == 3
    assert result["valid"]["loss"] > 0


def test_bf16_training_stays_close_to_fp32(config, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        train(config(max_steps=40, val_every=40, precision=precision), tmp_path / precision)
        losses[precision] = json.loads((tmp_path / precision / "result.json").read_text())["valid"]["loss"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]


def test_references_that_no_score_should_be_made_with_are_refused_before_training(config, text, tmp_path):
    """Nor is the text prepared, which can take an hour."""
    sentences = (text / "valid.de").read_text(encoding="utf-8").splitlines() * 2
    wrong = {
        "subwords": [f"{line[:2]}@@ {line[2:]}" for line in sentences],
        "tokens": [line[:-1] + " ." for line in sentences],
    }
    for name, lines in wrong.items():
        (tmp_path / f"{name}.en").write_text("A dog.\n" * len(lines), encoding="utf-8")
        (tmp_path / f"{name}.de").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    for part, name, said in (
        ("valid", "subwords", "subwords.de, line 1, has the subword mark"),
        ("valid", "tokens", "tokens.de are tokenised"),
        ("test", "subwords", "subwords.de, line 1, has the subword mark"),
        ("test", "tokens", "tokens.de are tokenised"),
    ):
        cfg = config()
        setattr(cfg.data, part, [str(tmp_path / name)])
        cfg.data.dir = str(tmp_path / "data")
        with pytest.raises(UserError, match=said):
            train(cfg, tmp_path / "run")
    assert not (tmp_path / "data").exists()


def test_seconds_are_those_of_training_and_of_validation_over_all_sessions(config, tmp_path, kill_at, monkeypatch):
    """By a clock that a step moves by 1, a validation by 100, and nothing else: 8 steps and 2 validations."""
    now = 0.0

    def taking(seconds, honest):
        def work(*args):
            nonlocal now
            now += seconds
            return honest(*args)

        return work

    monkeypatch.setattr("rope_mt.training.callbacks.report.time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(TranslationModule, "training_step", taking(1.0, TranslationModule.training_step))
    honest = TranslationModule.on_validation_epoch_end
    monkeypatch.setattr(TranslationModule, "on_validation_epoch_end", taking(100.0, honest))
    step = TranslationModule.training_step
    with pytest.raises(kill_at(6)):
        train(config(), tmp_path)
    monkeypatch.setattr(TranslationModule, "training_step", step)
    train(config(), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["training_seconds"], result["validation_seconds"]) == (8, 200)


def test_a_run_that_is_being_trained_is_refused_to_another(config, tmp_path):
    with (
        alone(RunFolder(tmp_path / "run").lock, "training run"),
        pytest.raises(UserError, match=r"^another rope-mt \(.*\) is training .*run: "),
    ):
        train(config(), tmp_path / "run")


@pytest.mark.parametrize("killed_at", [0, 3, 7, 10])
def test_overwriting_that_is_killed_is_done_in_the_end(config, tmp_path, monkeypatch, killed_at):
    run = RunFolder(tmp_path)
    write_json(run.identity, {"key": "old"})
    for name in ("step-0000004", "step-0000008", "weights-0000008", "best", "average"):
        write_whole(run.checkpoints / f"{name}.ckpt", "")
    for file in (run.metrics, run.config, run.test_src, run.test_ref, run.test_hyp, run.result):
        write_whole(file, "")
    cfg, gone = config(), []
    cfg.overwrite = True
    honest = Path.unlink

    def unlink(path, missing_ok=False):
        if len(gone) == killed_at:
            raise KeyboardInterrupt
        gone.append(path)
        honest(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(KeyboardInterrupt):
        begin(run, cfg, "new", ([], []))
    monkeypatch.undo()
    open_run(run, cfg, "new")
    begin(run, cfg, "new", ([], []))
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*run.began_with, run.identity}


def test_overwriting_is_refused_before_anything_of_the_old_run_is_gone(config, tmp_path, monkeypatch):
    cfg = config(max_steps=4, val_every=4)
    train(cfg, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file() and path.name != ".lock"}
    cfg.overwrite = True
    monkeypatch.setattr("rope_mt.system.disk.free", lambda folder: 0)
    with pytest.raises(UserError, match="make room"):
        train(cfg, tmp_path)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_file_that_a_run_needs_and_somebody_took_away_is_named(config, tmp_path):
    cfg = config(max_steps=4, val_every=2, average=2)
    train(cfg, tmp_path)
    (tmp_path / "result.json").unlink()
    weights = tmp_path / "checkpoints" / "weights-0000002.ckpt"
    kept = weights.read_bytes()
    weights.unlink()  # without it, the mean would be of the last weights alone
    with pytest.raises(UserError, match=rf"{weights} is not there any more.*overwrite=true"):
        train(cfg, tmp_path)
    weights.write_bytes(kept)
    (tmp_path / "test.ref").rename(tmp_path / "mine")
    with pytest.raises(UserError, match=r"test\.ref is not there any more: .*overwrite=true"):
        train(cfg, tmp_path)
    (tmp_path / "mine").rename(tmp_path / "test.ref")
    for copy in ("step-old.ckpt", "weights-0000004 (copy).ckpt"):  # which are nobody's business but the user's
        (tmp_path / "checkpoints" / copy).write_bytes(b"mine")
    train(cfg, tmp_path)
    assert (tmp_path / "result.json").is_file()
    assert (tmp_path / "checkpoints" / "step-old.ckpt").is_file()
