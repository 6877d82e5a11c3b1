"""The update: its loss and gradient are those of training as the papers write it, in one batch or several."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rope_mt.bench.steps import Training, first_batches
from rope_mt.config.position import NoPositionConfig, PositionConfig, PositionsConfig, RopeConfig, SinusoidalConfig
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.epoch import EpochPlan
from rope_mt.data.prepare import prepare
from rope_mt.data.tokenizer import PAD
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train

from ..small import rows
from .textbook import Textbook

STEPS = 12  # tests/soak/same_mathematics.py has two hundred of the shape tiny


def test_every_optimization_on_gives_the_losses_of_every_optimization_off(config):
    cfg = config()
    cfg = replace(cfg, model=replace(cfg.model, dropout=0.0), optimizer=replace(cfg.optimizer, warmup_steps=8))
    text_of = locate(cfg.data)
    data = TranslationData(cfg.data, prepare(cfg.data, text_of), text_of.valid, cfg.seed)
    batches = first_batches(data, STEPS)
    fast = Training.of(cfg, data, "fp32", torch.device("cpu"))
    plain = Textbook(fast.module)
    expected = [plain.step(batch) for batch in batches]
    losses = [fast.step(batch).item() for batch in batches]
    assert losses == pytest.approx(expected, abs=1e-4)
    assert losses[-1] < losses[0] - 0.5  # and the model has learned


def test_drawn_positions_change_neither_data_nor_dropout(config):
    """Losses of `none` are the same to the bit; those of rope in another place are the same but for rounding.

    Each batch updates the weights, so this is the control of experiment=lengths, too.
    """
    cfg = config()
    assert cfg.model.dropout > 0
    text_of = locate(cfg.data)
    data = TranslationData(cfg.data, prepare(cfg.data, text_of), text_of.valid, cfg.seed)
    batches = first_batches(data, 6)

    def losses(position: PositionConfig, positions: PositionsConfig) -> list[float]:
        torch.manual_seed(0)
        module = TranslationModule(replace(cfg, position=position, positions=positions), data, "fp32")
        found, optimizer = [], torch.optim.SGD(module.parameters(), lr=0.3)
        for number, batch in enumerate(batches):
            module.on_train_batch_start(batch, number)
            optimizer.zero_grad()
            loss = module.training_step(batch, number)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    consecutive, shifted, random = PositionsConfig(), PositionsConfig("shifted", 900), PositionsConfig("random", 900)
    expected = losses(NoPositionConfig(), consecutive)
    assert losses(NoPositionConfig(), shifted) == losses(NoPositionConfig(), random) == expected
    of_rope = losses(RopeConfig(), consecutive)
    assert losses(RopeConfig(), shifted) == pytest.approx(of_rope, abs=1e-4)
    for of_random in (losses(RopeConfig(), random), losses(SinusoidalConfig(), random)):
        assert of_random != pytest.approx(of_rope, abs=1e-3)


@pytest.mark.parametrize("clip", [0.05, 100.0], ids=["clipped", "not clipped"])
def test_the_gradient_is_that_of_the_mean_over_the_tokens_of_all_batches(config, tmp_path, monkeypatch, clip):
    cfg = config(max_steps=3, val_every=3, val_sentences=1, accumulate=3, clip=clip, log_every=1, precision="fp32")
    cfg.model.dropout = 0.0
    steps, updates = TranslationModule.training_step, TranslationModule.on_before_optimizer_step
    losses: list[float] = []
    sizes: list[int] = []
    under_way: list[Tensor] = []

    def training_step(self, batch, batch_idx):
        # the sum over the tokens, of logits and a loss that are not those of training
        logits = self.model(batch.src, batch.tgt_in).flatten(0, 1)[batch.where]
        smoothing = self.cfg.optimizer.label_smoothing
        loss = torch.nn.functional.cross_entropy(logits, batch.tgt_out, reduction="sum", label_smoothing=smoothing)
        under_way.append(loss)
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
            expected = gradient * min(1, clip / norm)
            torch.testing.assert_close(ours.grad / optimizer.grad_scale, expected, rtol=1e-4, atol=1e-7)
        losses.append(mean.item())

    monkeypatch.setattr(TranslationModule, "training_step", training_step)
    monkeypatch.setattr(TranslationModule, "on_before_optimizer_step", on_before_optimizer_step)
    run = RunFolder(tmp_path)
    train(cfg, run.path)
    assert len({*sizes[:3]}) == 3  # unequal, so that a mean of means is another number
    reports = [row for row in rows(run) if "train/loss" in row]
    assert [row["train/loss"] for row in reports] == pytest.approx(losses, rel=1e-5)
    # a step is an update: so are tokens and the learning rate counted
    assert [row["tokens"] for row in reports] == [sum(sizes[:3]), sum(sizes[:6]), sum(sizes)]
    assert [row["train/lr"] for row in reports] == pytest.approx([cfg.optimizer.lr * step / 20 for step in (1, 2, 3)])
    assert read_result(run)["steps"] == 3


def test_a_report_is_of_all_steps_since_the_one_before(config, tmp_path, monkeypatch):
    """Each has two batches; the norm is torch's own, and higher than the clipping allows."""
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
    first, last = (row for row in rows(RunFolder(tmp_path)) if "train/loss" in row)
    assert (first["step"], last["step"]) == (3, 5)
    for row, updates, batches in ((first, slice(3), slice(6)), (last, slice(3, 5), slice(6, 10))):
        assert min(norms[updates]) > 0.1
        assert row["train/gradient_norm"] == pytest.approx(sum(norms[updates]) / len(norms[updates]), rel=1e-4)
        assert row["train/gradient_norm_max"] == pytest.approx(max(norms[updates]), rel=1e-4)
        assert row["train/padding"] == pytest.approx(1 - sum(filled[batches]) / sum(slots[batches]))
        assert 0 < row["train/padding"] < 0.5
        assert 50 < row["train/peak_memory_mb"] < 100_000


def test_rows_name_the_epoch_of_their_step(config, tmp_path, monkeypatch):
    """Epochs may have different lengths, and Lightning counts steps beyond the first one's length as a new epoch."""
    deal = EpochPlan._deal

    def one_less_in_even_epochs(plan, random):
        batches = deal(plan, random)
        return batches[1:] if plan.epoch % 2 == 0 and len(batches) > 1 else batches

    monkeypatch.setattr(EpochPlan, "_deal", one_less_in_even_epochs)
    cfg = config(max_steps=20, val_every=20, val_sentences=1, log_every=1)
    cfg.data.batch_tokens = 2000
    located = locate(cfg.data)
    plan, lengths = TranslationData(cfg.data, prepare(cfg.data, located), located.valid, cfg.seed).plan, []
    for plan.epoch in range(6):
        lengths.append(len(plan))
    assert lengths[0] < lengths[1] < sum(lengths[:2]) < 20
    train(cfg, tmp_path)
    expected = [epoch for epoch, length in enumerate(lengths) for _ in range(length)]
    assert [row["epoch"] for row in rows(RunFolder(tmp_path)) if "train/loss" in row] == expected[:20]
