"""The exponential moving average of the weights that `trainer.ema` asks for."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.optim.swa_utils import get_ema_multi_avg_fn

from rope_mt.training.module import TranslationModule


class MovingAverage(Callback):
    """Averages the weights after each step, and validates with the average; training does not see it.

    The average of the first step is its weights; then it is decay * average + (1 - decay) * weights, in float32.

    torch's own `AveragedModel` makes the device wait in each step. Lightning's callback copies the module with its
    data, and gives the weights back before BLEU is computed.
    """

    def __init__(self, module: TranslationModule, decay: float) -> None:
        self.module, self.model = module, deepcopy(module.model)
        self.model.eval()  # and its weights still want gradients: autocast keeps casts of no others
        self.average = get_ema_multi_avg_fn(decay)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.model.to(self.module.device)
        self.module.translator.model = self.model

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.module.ends_update(batch_idx):
            return
        if trainer.global_step > 1:
            averages, weights = ([p.detach() for p in of.parameters()] for of in (self.model, self.module.model))
            self.average(averages, weights, 0)  # of so many steps, which this kind of average does not ask
        else:
            self.model.load_state_dict(self.module.model.state_dict())

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["ema"] = self.model.state_dict()

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: Mapping[str, Any]
    ) -> None:
        self.model.load_state_dict(checkpoint["ema"])
