"""Which checkpoints a run keeps: the last two and the best in full, and of the last few the weights for averaging."""

import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback

from rope_mt.durable import whole_file
from rope_mt.runs.checkpoint import read, write
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
    """After each validation, and at the end: `step-N.ckpt` in full, `weights-N.ckpt` for averaging, `best.ckpt`."""

    FULL = 2

    def __init__(self, folder: Path, average: int) -> None:
        self.folder, self.average = folder, average
        self.best_bleu = -1.0
        self.saved_at = -1  # step

    def state_dict(self) -> dict[str, Any]:
        return {"best_bleu": self.best_bleu}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_bleu = state_dict["best_bleu"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TranslationModule)
        bleu = pl_module.validation["bleu"]
        better = bleu > self.best_bleu
        self.best_bleu = max(bleu, self.best_bleu)
        saved = self._save(trainer)
        if better and trainer.is_global_zero:
            with open(saved, "rb") as source, whole_file(self.folder / "best.ckpt") as target:
                shutil.copyfileobj(source, target)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.saved_at != trainer.global_step:
            self._save(trainer)

    def _path(self, kind: str, step: int) -> Path:
        return self.folder / f"{kind}-{step:07d}.ckpt"

    def _save(self, trainer: L.Trainer) -> Path:
        step = self.saved_at = trainer.global_step
        trainer.save_checkpoint(self._path("weights", step), weights_only=True)
        trainer.save_checkpoint(self._path("step", step))
        if not trainer.is_global_zero:  # the first process writes and removes files for all
            return self._path("step", step)
        for kind, keep in (("step", self.FULL), ("weights", self.average)):
            for old in sorted(self.folder.glob(f"{kind}-*.ckpt"))[:-keep]:
                old.unlink()
        return self._path("step", step)


def latest(folder: Path) -> Path | None:
    """The full checkpoint of the highest step, to go on from."""
    return max(folder.glob("step-*.ckpt"), default=None)


def weights_to_average(folder: Path, n: int) -> list[Path]:
    """The last n of the weights saved, oldest first."""
    return sorted(folder.glob("weights-*.ckpt"))[-n:]
