"""TranslationModule: the Transformer with its loss, optimizer, schedule and validation, as Lightning wants them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from rope_mt.config.commands import TrainConfig
from rope_mt.config.plain import identity
from rope_mt.data.batches import Batch
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.tokenizer import EOS, PAD
from rope_mt.errors import UserError
from rope_mt.model.drawn_positions import drawn, draws
from rope_mt.model.loss import smoothed_cross_entropy
from rope_mt.model.transformer import Transformer
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.folder import AGAIN
from rope_mt.training import optimizers
from rope_mt.training.compiling import compiled
from rope_mt.training.processes import ALONE, Processes
from rope_mt.translation.scoring import score
from rope_mt.translation.translator import Translator


class TranslationModule(L.LightningModule):
    """One run's model in training. `validation` and `samples` hold the last validation; callbacks report it."""

    def __init__(self, cfg: TrainConfig, data: TranslationData, precision: str, processes: Processes = ALONE) -> None:
        super().__init__()
        self.cfg, self.data, self.precision, self.processes = cfg, data, precision, processes
        self.model = Transformer(cfg.model, cfg.position, len(data.tokenizer), PAD)
        self.features_of = compiled(features_of) if cfg.trainer.compile else features_of
        greedy = replace(cfg.search, beam=1)
        # its model is validated, and may be the moving average instead of the one in training
        self.translator = Translator(self.model, data.tokenizer, greedy, precision)
        # batches that make one update, of all processes together
        self.update_batches = cfg.trainer.accumulate * processes.world
        # of the last update, all processes together: the sum of its loss, and its real target tokens
        self.step_nats: Tensor = torch.zeros(())
        self.step_tokens: int | Tensor = 0
        self.step_norm: Tensor = torch.zeros(())  # of its gradient per token, before it is clipped
        self.step_skipped: Tensor = torch.zeros(())  # 1.0 if the update was skipped, as loss or norm is not finite
        self._seen: int | Tensor = 0  # tokens of all updates; of several processes on the device
        self._nats: float | Tensor = 0.0  # of this process in the update under way
        self._tokens = 0
        self._under_way: tuple[str, Batch] | None = None
        self.validation: dict[str, float] = {}
        self.samples: list[tuple[str, str, str]] = []  # source, reference, hypothesis
        self._valid_nats, self._valid_tokens = 0.0, 0

    @property
    def tokens_seen(self) -> int:
        """Real target tokens trained on, by all processes together; with several, asking waits for the device."""
        return int(self._seen)

    def ends_update(self, batch_idx: int) -> bool:
        """Whether an update is made with this batch of the epoch, which is a whole number of updates."""
        return (batch_idx + 1) % self.cfg.trainer.accumulate == 0

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the dropout of a batch with seed, step and its number in the step, so that nothing else changes it."""
        self._under_way = "training", batch
        mixed = self._seeds(batch_idx).generate_state(1)
        # torch.manual_seed also writes down the stack for each kind of device that is not in use
        torch.default_generator.manual_seed(int(mixed[0]))
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(int(mixed[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of a batch that makes an update alone; of one of several, the sum over its tokens.

        The tokens of all batches of an update are known after the last one: `on_before_optimizer_step` divides.
        """
        smoothing, positions = self.cfg.optimizer.label_smoothing, self._drawn(batch, batch_idx)
        loss = loss_of(self.model, batch, smoothing, *positions, features_of=self.features_of)
        self._nats = self._nats + loss.detach() * batch.n_tokens
        self._tokens += batch.n_tokens
        if self.update_batches == 1:
            return loss
        # Lightning divides this by the batches of a process, and DDP the gradients by the processes
        return loss * (batch.n_tokens * self.update_batches)

    def _seeds(self, batch_idx: int, *more: int) -> np.random.SeedSequence:
        """Seeds from the run's seed, the step, and the batch's number in the step, over all processes."""
        number = batch_idx % self.cfg.trainer.accumulate * self.processes.world + self.processes.rank
        return np.random.SeedSequence((self.cfg.seed, self.global_step, number, *more))

    def _drawn(self, batch: Batch, batch_idx: int) -> Iterator[Tensor]:
        """The positions of source and target of a batch, where they are drawn."""
        cfg = self.cfg.positions
        if cfg.name != "consecutive":
            [seed] = self._seeds(batch_idx, 1).generate_state(1)
            rows, width = batch.tgt_in.shape
            numbers = torch.rand(2, rows, draws(cfg), generator=torch.Generator().manual_seed(int(seed)))
            yield drawn(cfg, numbers[0], (batch.src != PAD).sum(dim=1), batch.src.shape[1])
            words = (batch.tgt_in != PAD) & (batch.tgt_in != EOS)  # eos stands behind the last one that is read
            yield drawn(cfg, numbers[1], words.sum(dim=1), width)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Have the optimizer divide gradients that are sums by the tokens of the update, and clip their norm.

        If the loss or this norm is not finite, weights and optimizer state stay as they are, and the schedule goes on.
        The device decides that, so nothing waits for it. Lightning's own clipping refuses fused optimizers.
        """
        assert isinstance(self._nats, Tensor)
        self.step_nats, self.step_tokens = self.processes.total(self._nats, self._tokens)
        self._seen = self._seen + self.step_tokens
        self._nats, self._tokens = 0.0, 0
        summed = 1 if self.update_batches == 1 else self.step_tokens
        self.step_norm = norm_of(self.parameters(), summed)
        self.step_skipped = not_finite(self.step_nats, self.step_norm)
        divisor = (clipping(self.step_norm, self.cfg.trainer.clip) * summed).float()
        optimizers.before_step(optimizer, divisor, self.step_skipped)

    def under_way(self) -> str:
        """The work that ran out of memory, the shape of its batch, and the setting that makes it smaller."""
        if self._under_way is None:
            return "before the first batch: choose a smaller model"
        doing, batch = self._under_way
        (rows, src), (_, tgt) = batch.src.shape, batch.tgt_in.shape
        accumulate = self.cfg.trainer.accumulate
        return (
            f"{doing} on a batch of {rows} pairs, {src} tokens wide at the source and {tgt} at the target: lower "
            f"data.batch_tokens ({self.cfg.data.batch_tokens:,}), and raise trainer.accumulate ({accumulate}) as much"
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._under_way = "validating", batch
        self._valid_nats += float(loss_of(self.translator.model, batch, smoothing=0.0)) * batch.n_tokens
        self._valid_tokens += batch.n_tokens

    def on_validation_epoch_end(self) -> None:
        """Loss over the whole validation set; BLEU of a greedy translation of its first sentences."""
        loss = self._valid_nats / self._valid_tokens
        self._valid_nats, self._valid_tokens = 0.0, 0
        n = self.cfg.trainer.val_sentences
        src, ref = self.data.valid_src[:n], self.data.valid_ref[:n]
        hyp = self.translator.translate(src)
        scores = score(hyp, ref)
        with np.errstate(over="ignore"):  # of a loss above 709
            perplexity = float(np.exp(loss))
        self.validation = {"loss": loss, "perplexity": perplexity, "bleu": scores.bleu, "chrf": scores.chrf}
        self.samples = list(zip(src, ref, hyp, strict=True))

    def configure_optimizers(self) -> Any:
        return optimizers.configured(self.model, self.cfg.optimizer, self.cfg.trainer.max_steps, self.precision)

    def checkpoint(self, model: Transformer) -> Checkpoint:
        """A checkpoint of the weights of this model at this step."""
        folder = Path(f"step {self.global_step}")
        return Checkpoint(self.cfg, self.data.tokenizer, dict(model.state_dict()), self.global_step, folder)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ckpt"] = self.checkpoint(self.model)
        checkpoint["tokens_seen"] = self.tokens_seen

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        ckpt: Checkpoint = checkpoint["ckpt"]
        if identity(ckpt.config) != identity(self.cfg) or ckpt.tokenizer.model != self.data.tokenizer.model:
            raise UserError(f"{ckpt.path} is of a run with other settings or other text: {AGAIN}")
        self._seen = checkpoint["tokens_seen"]


def features_of(model: Transformer, src: Tensor, tgt: Tensor, *positions: Tensor) -> Tensor:
    """What the decoder makes of tgt (batch, tgt, d_model), to predict the next tokens: both stacks, nothing else."""
    return model.decode(tgt, model.encode(src, *positions))


def loss_of(
    model: Transformer,
    batch: Batch,
    smoothing: float,
    *positions: Tensor,
    features_of: Callable[..., Tensor] = features_of,
) -> Tensor:
    """Cross-entropy in nats per target token, with uniform label smoothing (Vaswani et al. 2017, section 5.4).

    Args:
        positions: of source and target; without them they are consecutive.
        features_of: the function of this name, or what a compiler has made of it.
    """
    features = features_of(model, batch.src, batch.tgt_in, *positions)
    features = features.flatten(0, 1).index_select(0, batch.where)
    return smoothed_cross_entropy(features, model.embedding.weight, batch.tgt_out, smoothing)


def not_finite(loss: Tensor, norm: Tensor) -> Tensor:
    """1.0 if one of them is infinite or NaN, else 0.0; on their device. A norm is never negative."""
    return (~torch.isfinite(loss + norm)).float()


@torch.no_grad()
def norm_of(parameters: Iterator[torch.nn.Parameter], divisor: int | Tensor) -> Tensor:
    """The norm of all gradients together, each divided by `divisor`; nothing waits for the device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, foreach=True) / divisor


def clipping(norm: Tensor, largest: float) -> Tensor:
    """By what gradients of this norm are divided so that it is at most `largest`, as torch's `clip_grad_norm_` does."""
    return ((norm + 1e-6) / largest).clamp(min=1.0)
