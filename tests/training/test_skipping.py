"""Updates whose loss or gradient is not finite are left out and counted, and too many in a row end the run."""

import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from rope_mt.config.position import RelativeConfig
from rope_mt.data.batches import collate
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.training import module
from rope_mt.training.callbacks.skipping import sentences
from rope_mt.training.train import train


@pytest.fixture
def spoil(monkeypatch):
    """Multiplies the loss of some updates, and so their gradients, by infinity or by what is no number."""
    honest = module.loss_of

    def arrange(updates: dict[int, float], batch: int = 0) -> list[torch.Tensor]:
        """In the update, the batch with this number is spoilt; gives the sources of all batches that were."""
        now: list[tuple[int, int]] = []
        spoilt: list[torch.Tensor] = []
        begin = module.TranslationModule.on_train_batch_start

        def on_train_batch_start(self, of, batch_idx):
            now[:] = [(self.global_step + 1, batch_idx % self.cfg.trainer.accumulate)]
            begin(self, of, batch_idx)

        def loss_of(model, of, smoothing):
            loss = honest(model, of, smoothing)
            step, number = now[0]
            if not model.training or step not in updates or number != batch:
                return loss
            spoilt.append(of.src)
            return loss * updates[step]

        monkeypatch.setattr(module.TranslationModule, "on_train_batch_start", on_train_batch_start)
        monkeypatch.setattr(module, "loss_of", loss_of)
        return spoilt

    return arrange


def rows(folder: Path) -> list[dict]:
    said = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in said if "train/skipped" in row]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_they_are_counted_and_the_rest_is_trained(config, tmp_path, spoil, accumulate):
    spoil({3: math.nan, 5: math.inf}, batch=accumulate - 1)
    train(config(max_steps=6, val_every=3, log_every=1, accumulate=accumulate), tmp_path)
    found = rows(tmp_path)
    assert [row["train/skipped"] for row in found] == [0, 0, 1, 1, 2, 2]
    assert ["train/loss" in row for row in found] == [True, True, False, True, False, True]
    assert all(math.isfinite(value) for row in found for value in row.values())
    assert json.loads((tmp_path / "result.json").read_text())["skipped_updates"] == 2
    weights = checkpoint.load(tmp_path).weights.values()
    assert all(weight.isfinite().all() for weight in weights)


def test_what_was_seen_of_them_outlives_an_interruption(config, tmp_path, spoil, kill_at, monkeypatch):
    cfg = config(max_steps=8, val_every=4, log_every=3, max_skipped=2)
    error = kill_at(4)
    spoil(dict.fromkeys((3, 4), math.nan))
    with pytest.raises(error):
        train(cfg, tmp_path)
    monkeypatch.undo()
    spoil({5: math.nan})
    with pytest.raises(UserError, match="step 5: "):  # two of the three were before
        train(cfg, tmp_path)


def test_a_run_that_has_diverged_is_not_saved_to_go_on_when_a_signal_comes(config, tmp_path, spoil, monkeypatch):
    spoil(dict.fromkeys((2, 3, 4), math.nan))
    honest = module.TranslationModule.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == 5:  # the sixth, with none left out since the fourth
            signal.raise_signal(signal.SIGTERM)
        return honest(self, batch, batch_idx)

    monkeypatch.setattr(module.TranslationModule, "training_step", training_step)
    with pytest.raises(UserError, match=r"^step 4: loss or gradient not finite in 3 steps in a row"):
        train(config(max_steps=20, val_every=20, log_every=20, max_skipped=2), tmp_path)
    assert not [*tmp_path.glob("checkpoints/*.ckpt")]


def test_too_many_in_a_row_end_the_run_and_leave_the_batch(config, tmp_path, spoil):
    spoilt = spoil(dict.fromkeys((1, 2, 4, 5, 6), math.nan))
    with pytest.raises(UserError, match=r"not finite in 3 steps in a row.*lower optimizer\.lr") as refused:
        train(config(max_skipped=2), tmp_path)
    path = tmp_path / "skipped-0000006.json"
    assert str(path) in str(refused.value)
    said = json.loads(path.read_text())
    assert (said["step"], said["gradient_norm"]) == (6, "nan")
    [batch] = said["batches"]
    ids = [pair["src_ids"] for pair in batch]
    assert ids == [row[row != 0].tolist() for row in spoilt[-1]]
    [prefix] = config().data.train
    src, tgt = (Path(f"{prefix}.{lang}").read_text(encoding="utf-8").splitlines() for lang in ("en", "de"))
    assert {(pair["src"], pair["tgt"]) for pair in batch} <= {*zip(src, tgt, strict=True)}


def test_a_batch_is_given_back_as_its_sentences():
    src, tgt = np.array([[5, 6, 3], [7, 3, 0]]), np.array([[8, 3, 0, 0], [9, 10, 11, 3]])
    assert sentences(collate(src, tgt)) == ([[5, 6, 3], [7, 3]], [[8, 3], [9, 10, 11, 3]])


def test_a_model_that_memory_does_not_hold_is_told(config, tmp_path):
    cfg = config()
    cfg.position = RelativeConfig(clip=1 << 50)  # a table that no machine has room for
    with pytest.raises(UserError, match=r"^out of memory making the model: choose a smaller one$"):
        train(cfg, tmp_path)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("training_step", r"out of memory training on a batch of \d+ pairs, \d+ tokens wide at the source and \d+ at"),
        ("validation_step", r"out of memory validating on a batch of 8 pairs.*data\.batch_tokens"),
    ],
)
def test_too_little_memory_is_told_with_the_batch_and_the_setting(config, tmp_path, monkeypatch, where, said):
    honest = getattr(module.TranslationModule, where)

    def too_large(self, *given):
        honest(self, *given)
        return torch.empty(1 << 60)  # no machine has it

    monkeypatch.setattr(module.TranslationModule, where, too_large)
    with pytest.raises(UserError, match=said):
        train(config(), tmp_path)
