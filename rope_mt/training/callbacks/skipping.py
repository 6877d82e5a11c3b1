"""Updates that are skipped since their loss or gradient is not finite, and the end of a run that makes no others."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.system.files import write_json
from rope_mt.training.module import TranslationModule

MOST_BATCHES = 100  # kept before the device is asked


class Skipping(Callback):
    """Ends a run that skips more than `trainer.max_skipped` updates in a row, and saves the batch of the last one.

    The device is asked when a step is reported, validated or saved, which waits for it anyway. Until then the batches
    of the steps in between are kept. While updates are skipped, further steps change nothing.

    Raises:
        UserError: with the file that holds the batch.
    """

    def __init__(self, run: RunFolder, module: TranslationModule) -> None:
        self.run, self.module, self.cfg = run, module, module.cfg.trainer
        self.in_row = 0.0  # updates skipped, when the device was last asked
        # since then, with the number of the update
        self.batches: list[tuple[int, Batch]] = []
        self.updates: list[tuple[int, Tensor, Tensor]] = []  # 1.0 if it was skipped, and the norm of its gradient

    def state_dict(self) -> dict[str, Any]:
        self._ask()  # before a checkpoint is saved: none is behind the update that ends the run
        return {"in_row": self.in_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.in_row = state_dict["in_row"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        ends_update = self.module.ends_update(batch_idx)
        step = trainer.global_step + (not ends_update)
        self.batches.append((step, batch))
        if not ends_update:
            return
        self.updates.append((step, self.module.step_skipped, self.module.step_norm))
        reported = not step % self.cfg.log_every or not step % self.cfg.val_every or step == self.cfg.max_steps
        if reported or len(self.batches) >= MOST_BATCHES:
            self._ask()

    def _ask(self) -> None:
        for step, skipped, norm in self.updates:
            self.in_row = (self.in_row + 1) * float(skipped)
            if self.in_row > self.cfg.max_skipped:
                self._end(step, float(norm))
        self.batches.clear()
        self.updates.clear()

    def _end(self, step: int, norm: float) -> None:
        path = self.run.path / f"skipped-{step:07d}.json"
        batches = [_readable(self.module, batch) for number, batch in self.batches if number == step]
        if self.module.processes.rank == 0:  # of several processes, each has other batches of the step
            write_json(path, {"step": step, "gradient_norm": str(norm), "batches": batches})
        optimizer = self.module.cfg.optimizer
        raise UserError(
            f"step {step:,}: loss or gradient not finite in {self.cfg.max_skipped + 1} steps in a row, and "
            f"trainer.max_skipped is {self.cfg.max_skipped}: lower optimizer.lr ({optimizer.lr:g}) or raise "
            f"optimizer.warmup_steps ({optimizer.warmup_steps:,}); the batch is in {path}"
        )


def sentences(batch: Batch) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of each source and target of a batch, without padding and bos."""
    rows, slots = batch.tgt_in.shape
    lengths = torch.bincount(batch.where.cpu() // slots, minlength=rows)
    src = [row[row != PAD].tolist() for row in batch.src.cpu()]
    return src, [part.tolist() for part in batch.tgt_out.cpu().split(lengths.tolist())]


def _readable(module: TranslationModule, batch: Batch) -> list[dict[str, Any]]:
    """The pairs of a batch as text and as ids."""
    src, tgt = sentences(batch)
    texts = [module.data.tokenizer.decode(side) for side in (src, tgt)]
    names = ("src", "tgt", "src_ids", "tgt_ids")
    return [dict(zip(names, pair, strict=True)) for pair in zip(*texts, src, tgt, strict=True)]
