"""What training reports, against numbers that are made in another way."""

import json
from pathlib import Path

import pytest
import torch

from rope_mt.data.tokenizer import PAD
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train


def rows(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in lines if "train/loss" in row]


def test_a_report_tells_of_all_steps_since_the_one_before(config, tmp_path, monkeypatch):
    """Of two batches each; the norm is torch's own, and higher than the clipping allows."""
    norms, slots, filled = [], [], []
    steps, update = TranslationModule.training_step, TranslationModule.on_before_optimizer_step

    def training_step(self, batch, batch_idx):
        slots.append(batch.src.numel() + batch.tgt_in.numel())
        filled.append(int((batch.src != PAD).sum()) + len(batch.where))
        return steps(self, batch, batch_idx)

    def on_before_optimizer_step(self, optimizer):
        gradients = [p.grad / self._tokens for p in self.parameters()]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        update(self, optimizer)

    monkeypatch.setattr(TranslationModule, "training_step", training_step)
    monkeypatch.setattr(TranslationModule, "on_before_optimizer_step", on_before_optimizer_step)
    train(config(max_steps=5, val_every=4, val_sentences=1, log_every=3, accumulate=2, clip=0.1), tmp_path)
    first, last = rows(tmp_path)
    assert (first["step"], last["step"]) == (3, 5)
    for row, updates, batches in ((first, slice(3), slice(6)), (last, slice(3, 5), slice(6, 10))):
        found = norms[updates]
        assert min(found) > 0.1
        assert row["train/gradient_norm"] == pytest.approx(sum(found) / len(found), rel=1e-4)
        assert row["train/gradient_norm_max"] == pytest.approx(max(found), rel=1e-4)
        assert row["train/padding"] == pytest.approx(1 - sum(filled[batches]) / sum(slots[batches]))
        assert 0 < row["train/padding"] < 0.5
        assert 50 < row["train/peak_memory_mb"] < 100_000
