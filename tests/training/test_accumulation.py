"""`trainer.accumulate`: an update of several batches is that of one batch with all their pairs."""

import json

import pytest
import torch
from torch import Tensor

from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train


@pytest.mark.parametrize("clip", [0.05, 100.0], ids=["clipped", "not clipped"])
def test_the_gradient_is_that_of_the_mean_over_the_tokens_of_all_batches(config, tmp_path, monkeypatch, clip):
    cfg = config(max_steps=3, val_every=3, val_sentences=1, accumulate=3, clip=clip, log_every=1, precision="fp32")
    cfg.model.dropout = 0.0
    steps, expected, sizes = TranslationModule.training_step, [], []
    updates = TranslationModule.on_before_optimizer_step
    under_way: list[Tensor] = []

    def training_step(self, batch, batch_idx):
        # the sum over the tokens, of logits and a loss that are not those of training
        logits = self.model(batch.src, batch.tgt_in).flatten(0, 1)[batch.where]
        smoothed = torch.nn.functional.cross_entropy(
            logits, batch.tgt_out, reduction="sum", label_smoothing=self.cfg.optimizer.label_smoothing
        )
        under_way.append(smoothed)
        sizes.append(batch.n_tokens)
        return steps(self, batch, batch_idx)

    def on_before_optimizer_step(self, optimizer):
        mean = sum(under_way) / sum(sizes[-3:])
        gradients = torch.autograd.grad(mean, [*self.model.parameters()])
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        assert (norm > clip) == (clip < 1)
        under_way.clear()
        updates(self, optimizer)
        for ours, gradient in zip(self.model.parameters(), gradients, strict=True):
            torch.testing.assert_close(ours.grad, gradient * min(1, clip / norm), rtol=1e-4, atol=1e-7)
        expected.append(mean.item())

    monkeypatch.setattr(TranslationModule, "training_step", training_step)
    monkeypatch.setattr(TranslationModule, "on_before_optimizer_step", on_before_optimizer_step)
    train(cfg, tmp_path)
    assert len(expected) == 3
    assert len({*sizes[:3]}) == 3  # unequal, so that a mean of means is another
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    told = [row for row in rows if "train/loss" in row]
    assert [row["train/loss"] for row in told] == pytest.approx(expected, rel=1e-5)
    # a step is an update: so are tokens and the learning rate counted
    assert [row["tokens"] for row in told] == [sum(sizes[:3]), sum(sizes[:6]), sum(sizes)]
    assert [row["train/lr"] for row in told] == pytest.approx([cfg.optimizer.lr * step / 20 for step in (1, 2, 3)])
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 3
