"""The checkpoints that a run keeps: the last two to resume from, the best, and the last few for averaging."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback

from rope_mt.config.training import TrainerConfig
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import remove, saved, step_of, write
from rope_mt.runs.folder import RunFolder
from rope_mt.training.module import TranslationModule

RESUMABLE = 2  # checkpoints with the state of training
REMEDY = "remove it to resume from the one before, or start again with overwrite=true"


class CheckpointFolders(CheckpointIO):
    """Lightning's checkpoints, a dict, in the form of rope_mt/runs/checkpoint.py."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        training = {name: value for name, value in checkpoint.items() if name not in ("ckpt", "state_dict")}
        write(Path(path), checkpoint["ckpt"], training)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        ckpt = checkpoint.read(Path(path), REMEDY)
        weights = {f"model.{name}": tensor for name, tensor in ckpt.weights.items()}
        return {"ckpt": ckpt, "state_dict": weights, **checkpoint.read_training(Path(path), REMEDY)}

    def remove_checkpoint(self, path: Any) -> None:
        remove(Path(path))


class Checkpoints(Callback):
    """Saves `step-N` after each validation and at the end, and `best-N` if a validation has the highest BLEU so far.

    The best checkpoint is the first with that BLEU, which may be 0, and holds the weights that were validated: with
    `trainer.ema` the moving average, where `step-N` has the weights in training.
    """

    def __init__(self, run: RunFolder, module: TranslationModule) -> None:
        self.run, self.module, self.cfg = run, module, module.cfg.trainer
        self.best_bleu = -1.0
        self.saved_at: int | None = None  # the last step that was saved

    def state_dict(self) -> dict[str, Any]:
        return {"best_bleu": self.best_bleu}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_bleu = state_dict["best_bleu"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        bleu = self.module.validation["bleu"]
        # before the checkpoint that knows of it: a run that is killed in between finds the same best again
        if bleu > self.best_bleu and trainer.is_global_zero:
            best = self.run.checkpoints / f"best-{trainer.global_step:07d}"
            write(best, self.module.checkpoint(self.module.translator.model))
            for folder in saved(self.run, "best"):
                if folder != best:
                    remove(folder)
        self.best_bleu = max(bleu, self.best_bleu)
        self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.saved_at != trainer.global_step:
            self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Save this step, and remove what is not kept any more."""
        self.saved_at = trainer.global_step
        trainer.save_checkpoint(self.run.checkpoints / f"step-{trainer.global_step:07d}")
        if not trainer.is_global_zero:  # the first process writes and removes files for all
            return
        folders = saved(self.run)
        resumable, ended = folders[-RESUMABLE:], checkpoint.ends(folders[-1], self.cfg)
        averaged = [folder for folder in folders if is_averaged(self.cfg, step_of(folder))][-self.cfg.average :]
        for folder in folders:
            if folder not in averaged and (ended or folder not in resumable):
                remove(folder)
            elif folder not in resumable:
                (folder / checkpoint.TRAINING).unlink(missing_ok=True)


def is_averaged(cfg: TrainerConfig, step: int) -> bool:
    """Whether the weights of a step may be averaged: not those that were saved because a signal came."""
    return step % cfg.val_every == 0 or step == cfg.max_steps
