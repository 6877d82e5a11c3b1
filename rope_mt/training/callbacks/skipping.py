"""Updates that are left out since their loss or gradient is not finite, and the end of a run that makes no others."""

from collections import deque
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from rope_mt.config.training import TrainerConfig
from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.system.files import write_json
from rope_mt.training.module import TranslationModule

MOST = 100  # batches that are kept before the device is asked


class Skipping(Callback):
    """Ends a run that leaves out more than `trainer.max_skipped` updates in a row, and saves the batch that did it.

    They are counted on the device, which is asked when a step is reported or validated and so waited for anyway. Until
    then the batches of the steps in between are kept; as long as updates are left out, further steps change nothing.

    Raises:
        UserError: with the file that holds the batch.
    """

    def __init__(self, run: RunFolder, cfg: TrainerConfig) -> None:
        self.run, self.cfg = run, cfg
        self.in_row: Any = 0.0  # on the device, as are all three
        self.reached: Any = 0  # the update that was one too many
        self.norm: Any = 0.0  # of its gradient
        self.recent: deque[tuple[int, Batch]] = deque()  # with the number of the update that a batch is part of

    def state_dict(self) -> dict[str, Any]:
        return {"in_row": float(self.in_row)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.in_row = state_dict["in_row"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TranslationModule)
        done = pl_module.ends_update(batch_idx)
        step = trainer.global_step + (not done)
        self.recent.append((step, batch))
        if not done:
            return
        self.in_row = (self.in_row + 1) * pl_module.step_skipped
        too_many = (self.in_row > self.cfg.max_skipped) & (torch.as_tensor(self.reached) == 0)
        self.reached = torch.where(too_many, step, self.reached)
        self.norm = torch.where(too_many, pl_module.step_norm, self.norm)
        told = not step % self.cfg.log_every or not step % self.cfg.val_every or step == self.cfg.max_steps
        if not told and len(self.recent) < MOST:
            return
        self._ask(pl_module)
        self.recent.clear()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """No run goes on from where it would have ended, as after a signal between two steps that are told."""
        assert isinstance(pl_module, TranslationModule)
        self._ask(pl_module)

    def _ask(self, module: TranslationModule) -> None:
        if reached := int(self.reached):
            self._stop(module, reached)

    def _stop(self, module: TranslationModule, step: int) -> None:
        path = self.run.path / f"skipped-{step:07d}.json"
        tokenizer, batches = module.data.tokenizer, []
        for src, tgt in (sentences(batch) for number, batch in self.recent if number == step):
            texts = zip(tokenizer.decode(src), tokenizer.decode(tgt), strict=True)
            pairs = zip(texts, src, tgt, strict=True)
            batches.append([{"src": s, "tgt": t, "src_ids": i, "tgt_ids": j} for (s, t), i, j in pairs])
        if module.processes.first:  # of several, each has other batches of the step
            write_json(path, {"step": step, "gradient_norm": str(float(self.norm)), "batches": batches})
        raise UserError(
            f"step {step:,}: loss or gradient not finite in {self.cfg.max_skipped + 1} steps in a row, and "
            f"trainer.max_skipped is {self.cfg.max_skipped}: lower optimizer.lr ({module.cfg.optimizer.lr:g}) or raise "
            f"optimizer.warmup_steps ({module.cfg.optimizer.warmup_steps:,}); the batch is in {path}"
        )


def sentences(batch: Batch) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of each source and target of a batch, without padding and bos."""
    src = [row[row != PAD].tolist() for row in batch.src.cpu()]
    rows, slots = batch.tgt_in.shape
    per_row = torch.bincount(batch.where.cpu() // slots, minlength=rows)
    tgt = [part.tolist() for part in np.split(batch.tgt_out.cpu().numpy(), per_row.cumsum(0)[:-1].numpy())]
    return src, tgt
