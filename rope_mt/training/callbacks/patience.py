"""Early stopping: the end of a training whose validation loss does not fall any more."""

import math
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from rope_mt.training.module import TranslationModule


class Patience(Callback):
    """Ends the training after so many validations in a row without a lower loss than the lowest before."""

    def __init__(self, module: TranslationModule, patience: int) -> None:
        self.module, self.patience = module, patience
        self.lowest: float | None = None
        self.waited = 0  # validations

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest, self.waited = state_dict["lowest"], state_dict["waited"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = self.module.validation["loss"]
        if math.isfinite(loss) and (self.lowest is None or loss < self.lowest):
            self.lowest, self.waited = loss, 0
        else:
            self.waited += 1
        # of several processes all end, as a loss may differ in its last digit
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(self.waited >= self.patience, all=False)
