"""TranslationModule: the Transformer with its loss, optimizer, schedule and validation, as Lightning wants them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from rope_mt.config.commands import TrainConfig
from rope_mt.data.stream import Batch, TranslationData
from rope_mt.data.tokenizer import PAD
from rope_mt.device import computing_in
from rope_mt.evaluation import score_translations
from rope_mt.model.loss import smoothed_cross_entropy
from rope_mt.model.transformer import Transformer
from rope_mt.runs.checkpoint import contents
from rope_mt.training.processes import ALONE, Processes
from rope_mt.translation import Translator


class TranslationModule(L.LightningModule):
    """One run's model in training. `validation` holds what the last validation found; callbacks report it."""

    def __init__(self, cfg: TrainConfig, data: TranslationData, precision: str, processes: Processes = ALONE) -> None:
        super().__init__()
        self.cfg, self.data, self.precision, self.processes = cfg, data, precision, processes
        self.model = Transformer(cfg.model, cfg.position, len(data.tokenizer), PAD)
        greedy = replace(cfg.search, beam=1)
        # its model is the one that is validated, which need not be the one in training
        self.translator = Translator(self.model, data.tokenizer, greedy, precision)
        self.tokens_seen = 0  # real target tokens trained on, by all processes together
        self.step_tokens = 0  # of the last step
        self.validation: dict[str, float] = {}
        self.samples: list[tuple[str, str, str]] = []  # source, reference, hypothesis
        self._valid_nats, self._valid_tokens = 0.0, 0

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw each step's dropout from (seed, step, rank) alone: neither resuming nor validating can change it."""
        mixed = np.random.SeedSequence((self.cfg.seed, self.global_step, self.processes.rank)).generate_state(1)
        torch.manual_seed(int(mixed[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of this process's batch, weighted so that the mean over processes is that of all their tokens."""
        self.step_tokens = self.processes.total(batch.n_tokens)
        self.tokens_seen += self.step_tokens
        loss = loss_of(self.model, batch, self.cfg.optimizer.label_smoothing)
        if self.processes.world == 1:
            return loss
        return loss * (batch.n_tokens * self.processes.world / self.step_tokens)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient's norm here: Lightning's own clipping refuses fused optimizers."""
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.cfg.trainer.clip)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._valid_nats += float(loss_of(self.translator.model, batch, smoothing=0.0)) * batch.n_tokens
        self._valid_tokens += batch.n_tokens

    def on_validation_epoch_end(self) -> None:
        """Loss over the whole validation set; BLEU of a greedy translation of its first sentences."""
        loss = self._take_valid_loss()
        n = self.cfg.trainer.val_sentences
        src, ref = self.data.valid_src[:n], self.data.valid_ref[:n]
        hyp, scores = score_translations(self.translator, src, ref)
        self.validation = {"loss": loss, "perplexity": float(np.exp(loss)), "bleu": scores.bleu, "chrf": scores.chrf}
        self.samples = list(zip(src, ref, hyp, strict=True))

    def _take_valid_loss(self) -> float:
        loss = self._valid_nats / self._valid_tokens
        self._valid_nats, self._valid_tokens = 0.0, 0
        return loss

    @torch.inference_mode()
    def valid_loss(self) -> float:
        """Nats per target token of the validation set with the translator's model, outside of Lightning's loop."""
        self.translator.model.eval()
        with computing_in(self.precision, self.device):
            for i, batch in enumerate(self.data.val_dataloader()):
                self.validation_step(Batch(*(part.to(self.device) for part in batch)), i)
        return self._take_valid_loss()

    def configure_optimizers(self) -> Any:
        cfg = self.cfg.optimizer
        optimizer = torch.optim.Adam(
            self.parameters(), lr=cfg.lr, betas=(cfg.beta1, cfg.beta2), eps=cfg.eps, fused=True
        )

        def share_of_peak(step: int) -> float:
            """Linear warm-up, then inverse square root: Vaswani et al. 2017, eq. 3."""
            return min((step + 1) / cfg.warmup_steps, (cfg.warmup_steps / (step + 1)) ** 0.5)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["rope_mt"] = self.described()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        self.tokens_seen = checkpoint["rope_mt"]["tokens_seen"]

    def described(self) -> dict[str, Any]:
        """What a checkpoint says beside its weights."""
        return {**contents(self.cfg, self.data.tokenizer), "tokens_seen": self.tokens_seen}


def loss_of(model: Transformer, batch: Batch, smoothing: float) -> Tensor:
    """Cross-entropy in nats per target token, with uniform label smoothing (Vaswani et al. 2017, section 5.4)."""
    hidden = model.decode(batch.tgt_in, model.encode(batch.src))
    hidden = hidden.flatten(0, 1).index_select(0, batch.where)
    return smoothed_cross_entropy(hidden, model.embedding.weight, batch.tgt_out, smoothing)
