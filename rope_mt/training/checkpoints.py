"""Which checkpoints a run keeps: the last two in full, the weights of the best, and of the last few for averaging."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback

from rope_mt.runs.checkpoint import PREFIX, read, write
from rope_mt.runs.folder import RunFolder
from rope_mt.training.module import TranslationModule


class WholeFiles(CheckpointIO):
    """Writes checkpoints whole or not at all, and reads them without running any code that they name."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path))

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
            for old in sorted(self.run.checkpoints.glob(f"{kind}-*.ckpt"))[:-keep]:
                old.unlink()
