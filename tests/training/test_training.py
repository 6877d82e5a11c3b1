"""Training through the function that the command calls: it learns, and what interrupts it changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.data.plan import Rows
from rope_mt.data.stream import PairDataset, Sentences
from rope_mt.device import computing_in
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train
from rope_mt.translation import Translator

SCHEMES = {scheme.name: scheme for scheme in POSITION_CONFIGS}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """A small corpus: 120 training pairs, 16 short ones of them by themselves, and a few for validation."""
    folder = tmp_path_factory.mktemp("text")
    corpus = toy.generate(n_train=120, n_valid=8, n_test=8)
    # of the same words in another order only one: without positions they cannot be told apart
    distinct = {toy.bag_of_words(en): (en, de) for en, de in corpus.train if len(en) < 50}
    sixteen = list(distinct.values())[:16]
    for name, pairs in (("train", corpus.train), ("sixteen", sixteen), ("valid", corpus.valid)):
        for side, lang in enumerate(("en", "de")):
            (folder / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    return folder


def config(text: Path, train_on: str = "train", test_on: str = "valid", scheme: str = "rope", **trainer) -> TrainConfig:
    return TrainConfig(
        seed=3,
        position=SCHEMES[scheme](),
        model=ModelConfig("test", d_model=64, d_ff=128, n_heads=4, n_layers=1, dropout=0.1),
        data=DataConfig(
            "files",
            str(text / train_on),
            str(text / test_on),
            str(text / test_on),
            vocab_size=450,
            batch_tokens=1000,
            dir=str(text / "data"),
        ),
        optimizer=OptimizerConfig(lr=4e-3, warmup_steps=20),
        trainer=TrainerConfig(
            **{"max_steps": 8, "val_every": 4, "val_sentences": 500, "log_every": 2, "device": "cpu", **trainer}
        ),
        search=SearchConfig(beam=2, length_penalty=0.6),
        tracking=TrackingConfig("none"),
    )


@pytest.mark.parametrize(
    ("scheme", "attention"), [*((name, "softmax") for name in sorted(SCHEMES)), ("rope", "linear")]
)
def test_a_tiny_model_overfits_16_pairs(text, tmp_path, scheme, attention):
    cfg = config(text, "sixteen", "sixteen", scheme, max_steps=200, val_every=200, average=1, precision="fp32")
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
    pairs = PairDataset(*(Sentences.of(ckpt.tokenizer.encode(side)) for side in sides))
    batch = pairs[Rows(np.arange(len(sides[0])), 0, 0)]
    found = {}
    for precision in ("fp32", "bf16"):
        with torch.inference_mode(), computing_in(precision, torch.device("cpu")):
            logits = model(batch.src, batch.tgt_in).flatten(0, 1)[batch.where].float()
        found[precision] = (F.cross_entropy(logits, batch.tgt_out).item(), logits.argmax(-1))
    (loss, said), (bf16_loss, bf16_said) = found.values()
    assert bf16_loss == pytest.approx(loss, rel=0.01)
    assert (said == bf16_said).float().mean() >= 0.98


class KilledError(Exception):
    pass


@pytest.fixture
def kill_at(monkeypatch):
    """Make training die in the step that has this number, as if the machine had gone."""

    def arrange(step: int) -> None:
        honest = TranslationModule.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                raise KilledError
            return honest(self, batch, batch_idx)

        monkeypatch.setattr(TranslationModule, "training_step", training_step)

    yield arrange
    monkeypatch.undo()


def final_state(folder: Path, step: int) -> dict:
    return checkpoint.read(folder / "checkpoints" / f"step-{step:07d}.ckpt")


def rows(folder: Path) -> list[dict]:
    """The metrics of a run without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if "second" not in name} for row in lines]


@pytest.mark.parametrize(
    ("last", "dies_at", "workers", "sampling"),
    [(8, 5, 0, 0.0), (8, 5, 2, 0.0), (24, 23, 0, 0.0), (24, 23, 2, 0.0), (24, 23, 2, 0.1)],
    ids=["epoch 0", "epoch 0, workers", "a later epoch", "a later epoch, workers", "sampled pieces"],
)
def test_a_run_that_was_killed_ends_as_if_nothing_had_been(
    text, tmp_path, kill_at, monkeypatch, last, dies_at, workers, sampling
):
    cfg = config(text, max_steps=last, precision="fp32")
    cfg.data.workers, cfg.data.sampling = workers, sampling
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    train(cfg, straight)
    with monkeypatch.context():
        kill_at(dies_at)
        with pytest.raises(KilledError):
            train(cfg, killed)
        monkeypatch.undo()
    resumed_from = max(killed.glob("checkpoints/step-*.ckpt")).name
    assert resumed_from == f"step-{dies_at // 4 * 4:07d}.ckpt"
    train(cfg, killed)

    ours, theirs = final_state(killed, last), final_state(straight, last)
    for name, weights in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], weights), name
    for index, moments in theirs["optimizer_states"][0]["state"].items():
        for name, values in moments.items():
            assert torch.equal(ours["optimizer_states"][0]["state"][index][name], values)
    assert rows(killed) == rows(straight)
    assert (killed / "test.hyp").read_bytes() == (straight / "test.hyp").read_bytes()
    epochs = {row["epoch"] for row in rows(straight)}
    assert (max(epochs) >= 1) == (last > 8)


def test_the_same_command_finds_a_finished_run_and_overwrite_starts_again(text, tmp_path, capsys):
    cfg = config(text)
    bleu = train(cfg, tmp_path)
    weights = (tmp_path / "checkpoints" / "average.ckpt").stat().st_mtime_ns
    assert train(cfg, tmp_path) == bleu
    assert "is finished" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "average.ckpt").stat().st_mtime_ns == weights
    cfg.overwrite = True
    assert train(cfg, tmp_path) == bleu
    assert (tmp_path / "checkpoints" / "average.ckpt").stat().st_mtime_ns != weights


def test_a_folder_with_another_run_is_left_alone(text, tmp_path):
    train(config(text, max_steps=2), tmp_path)
    with pytest.raises(UserError, match="another run"):
        train(config(text, max_steps=3), tmp_path)


def test_what_cannot_change_a_result_makes_no_other_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config(text, max_steps=2)
    train(cfg)
    cfg.data.workers, cfg.trainer.log_every, cfg.tracking.project = 1, 1, "another"
    train(cfg)
    assert len(list((tmp_path / "outputs").iterdir())) == 1
    cfg.seed = 4
    train(cfg)
    assert len(list((tmp_path / "outputs").iterdir())) == 2


def test_a_run_keeps_the_last_two_and_the_best_in_full_and_weights_to_average(text, tmp_path):
    train(config(text, max_steps=14, val_every=2, average=4), tmp_path)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {
        *("average.ckpt", "best.ckpt", "step-0000012.ckpt", "step-0000014.ckpt"),
        *(f"weights-{step:07d}.ckpt" for step in (8, 10, 12, 14)),
    }
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_the_average_is_the_mean_of_the_last_weights(text, tmp_path):
    train(config(text, max_steps=6, val_every=2, average=2), tmp_path)
    folder = RunFolder(tmp_path)
    a, b = (checkpoint.read(folder.checkpoints / f"weights-{step:07d}.ckpt")["state_dict"] for step in (4, 6))
    for name, weights in checkpoint.read(folder.average)["state_dict"].items():
        torch.testing.assert_close(weights, (a[name] + b[name]) / 2)


def test_a_table_too_short_for_a_test_set_is_said_before_training(text, tmp_path):
    cfg = config(text, scheme="learned")
    cfg.position.max_len = cfg.data.max_len = 20
    with pytest.raises(UserError, match=r"this model's positions end at 20"):
        train(cfg, tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_training_shorter_than_a_validation_still_ends_with_scores(text, tmp_path):
    train(config(text, max_steps=3, val_every=100), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["steps"] == 3
    assert result["valid"]["loss"] > 0


def test_bf16_training_stays_close_to_fp32(text, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        train(config(text, max_steps=40, val_every=40, precision=precision), tmp_path / precision)
        losses[precision] = json.loads((tmp_path / precision / "result.json").read_text())["valid"]["loss"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]
