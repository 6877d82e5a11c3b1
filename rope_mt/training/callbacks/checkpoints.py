"""Which checkpoints a run keeps: the last two in full, the weights of the best, and of the last few for averaging."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback

from rope_mt.runs.checkpoint import PREFIX, write
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.selection import latest, numbered
from rope_mt.training.module import TranslationModule
from rope_mt.training.optimizers import Muon
from rope_mt.training.resuming import read_full

# bytes in a checkpoint beside its numbers and the tokenizer: for each tensor, and for all else
PER_TENSOR, PER_FILE = 290, 16_000


class WholeFiles(CheckpointIO):
    """Writes checkpoints whole or not at all, and reads them without running any code that they name."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_full(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class Checkpoints(Callback):
    """After each validation, and at the end: `step-N.ckpt` in full, `weights-N.ckpt` for averaging, `best.ckpt`.

    The best is the first with the highest BLEU, which may be 0, and holds the weights that were validated: with
    `trainer.ema` the moving average, where the other two have the weights in training.
    """

    FULL = 2

    def __init__(self, run: RunFolder, average: int) -> None:
        self.run, self.average = run, average
        self.best_bleu = -1.0
        self.saved_at = -1  # step

    def state_dict(self) -> dict[str, Any]:
        return {"best_bleu": self.best_bleu}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_bleu = state_dict["best_bleu"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TranslationModule)
        bleu = pl_module.validation["bleu"]
        # before the full checkpoint that knows of it: a run that dies in between finds the same best again
        if bleu > self.best_bleu and trainer.is_global_zero:
            weights = {PREFIX + name: tensor for name, tensor in pl_module.translator.model.state_dict().items()}
            about = {"rope_mt": pl_module.described(), "global_step": trainer.global_step}
            write(self.run.best, {"state_dict": weights, **about})
        self.best_bleu = max(bleu, self.best_bleu)
        self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.saved_at != trainer.global_step:
            self._save(trainer)

    def save_between(self, trainer: L.Trainer) -> None:
        """Save a step between two validations to go on from, but not to average, as an undisturbed run has none."""
        self._write(trainer, "step")

    def _save(self, trainer: L.Trainer) -> None:
        self.saved_at = trainer.global_step
        self._write(trainer, "weights", "step")

    def _write(self, trainer: L.Trainer, *kinds: str) -> None:
        for kind in kinds:
            path = self.run.checkpoints / f"{kind}-{trainer.global_step:07d}.ckpt"
            trainer.save_checkpoint(path, weights_only=kind == "weights")
        if not trainer.is_global_zero:  # the first process writes and removes files for all
            return
        for kind, keep in (("step", self.FULL), ("weights", self.average)):
            for old in numbered(self.run, kind)[:-keep]:
                old.unlink()


def sizes(module: TranslationModule) -> tuple[int, int]:
    """Bytes of a checkpoint in full and of one with weights alone, as they will be."""
    rest = len(module.data.tokenizer.model) + PER_FILE
    numbers = {each.data_ptr(): each.nbytes for each in module.model.state_dict().values()}  # some have two names
    weights = sum(numbers.values()) + len(numbers) * PER_TENSOR
    full = weights * (1 + bool(module.cfg.trainer.ema))
    optimizer = module.configure_optimizers()["optimizer"]
    for each in getattr(optimizer, "optimizers", [optimizer]):
        trained = [weight for group in each.param_groups for weight in group["params"]]
        moments = 1 if isinstance(each, Muon) else 2
        full += sum(moments * (weight.nbytes + PER_TENSOR) for weight in trained)
        full += len(trained) * PER_TENSOR * (moments == 2)  # the count of steps, which is one of a weight's tensors
    return full + rest, weights + rest


def room(run: RunFolder, module: TranslationModule) -> tuple[int, int]:
    """Bytes of all checkpoints of a run when it has ended, and when they take the most.

    That is when there is one more of each kind than is kept, before the oldest is removed.
    """
    cfg, last = module.cfg.trainer, None if module.cfg.overwrite else latest(run)
    at = int(last.stem.partition("-")[2]) if last else 0
    to_come = 0 if at >= cfg.max_steps else -(-cfg.max_steps // cfg.val_every) - at // cfg.val_every

    def taken(more: int) -> int:
        limits = {"step": Checkpoints.FULL + more, "weights": cfg.average + more}
        counts = {kind: (0 if module.cfg.overwrite else len(numbered(run, kind))) + to_come for kind in limits}
        n_full, n_weights = (min(counts[kind], limits[kind]) for kind in limits)
        return n_full * full + (n_weights + 1) * weights  # and best.ckpt

    full, weights = sizes(module)
    end = taken(0) + weights  # average.ckpt
    return end, max(end, taken(1))
