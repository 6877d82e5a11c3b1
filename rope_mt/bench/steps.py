"""A model in training, step by step, alone or in turns with another one on the same batches.

The speed of a machine that others use as well drifts by more than models differ. So two models take turns, and what
counts is how long the one took by how long the other took just before or after. The first step on a batch also pays for
memory of its shape, which the second finds there, so of two batches each model is the first on one, and both together
give one ratio.
"""

import time
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rope_mt.bench.yardstick import Yardstick
from rope_mt.config.commands import BenchDecodeConfig, BenchSchemesConfig, BenchTrainConfig, TrainConfig
from rope_mt.config.position import PositionConfig
from rope_mt.config.training import OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data.batches import Batch
from rope_mt.data.datamodule import TranslationData
from rope_mt.system.device import computing_in
from rope_mt.training.module import TranslationModule

SEED = 1
WARM_UP = 6  # steps that are not counted: memory is claimed in them, and kernels are chosen


def as_trained(cfg: BenchSchemesConfig | BenchTrainConfig | BenchDecodeConfig, position: PositionConfig) -> TrainConfig:
    """What `rope-mt train` would make of the same data and model.

    Raises:
        UserError: the model does not go with the scheme.
    """
    recipe = cfg.data.recipe
    return TrainConfig(
        seed=SEED,
        position=position,
        model=cfg.model,
        data=cfg.data,
        optimizer=OptimizerConfig(lr=recipe.lr, warmup_steps=recipe.warmup_steps),
        trainer=TrainerConfig(recipe.max_steps, recipe.val_every, recipe.val_sentences),
        search=SearchConfig(beam=1, length_penalty=0.0),
        tracking=TrackingConfig("none"),
    )


def endless(data: TranslationData) -> Iterator[Batch]:
    """The batches that training would draw, epoch after epoch."""
    return chain.from_iterable(repeat(data.train_dataloader()))


def first_batches(data: TranslationData, n: int) -> list[Batch]:
    """The first n batches that training would draw, from as many epochs as it takes."""
    return list(islice(endless(data), n))


class Training:
    """A model in training as `rope-mt train` does it, but step by step; or the yardstick beside it."""

    def __init__(self, module: TranslationModule | Yardstick, precision: str, device: torch.device) -> None:
        self.module, self.precision, self.device = module.to(device), precision, device
        self.threads = torch.get_num_threads()  # with which `seconds` lets it step
        made = self.module.configure_optimizers()
        self.optimizer, self.schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]

    @classmethod
    def of(cls, train: TrainConfig, data: TranslationData, precision: str, device: torch.device) -> "Training":
        """Ours, with the weights that training begins with.

        Raises:
            UserError: the model does not go with the scheme.
        """
        torch.manual_seed(SEED)
        return cls(TranslationModule(train, data, precision), precision, device)

    def step(self, batch: Batch, part_ends: Callable[[], Any] = lambda: None) -> Tensor:
        """Forward to the smoothed loss; backward; and the optimizer: gradient clipped, weights, next learning rate.

        Args:
            batch: on the model's device.
            part_ends: called after each of the three.

        Returns:
            The loss.
        """
        with computing_in(self.precision, self.device):
            loss = self.module.training_step(batch, 0)
        part_ends()
        loss.backward()
        part_ends()
        self.module.on_before_optimizer_step(self.optimizer)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        part_ends()
        return loss.detach()

    def moved(self, batch: Batch) -> Batch:
        """The batch on the model's device, as Lightning takes it there."""
        return Batch(*(part.to(self.device, non_blocking=True) for part in batch))


def in_turns(one: Training, other: Training, batches: list[Batch]) -> Iterator[tuple[float, float]]:
    """Seconds that a step of either takes, batch by batch; who goes first alternates."""
    for number, batch in enumerate(batches):
        there = one.moved(batch)
        if number % 2:
            second = seconds(other, there)
            yield seconds(one, there), second
        else:
            first = seconds(one, there)
            yield first, seconds(other, there)


def seconds(training: Training, batch: Batch) -> float:
    """How long a step takes, until the device has done all of it."""
    if training.threads != torch.get_num_threads():
        torch.set_num_threads(training.threads)
    finish(training.device)
    began = time.perf_counter()
    training.step(batch)
    finish(training.device)
    return time.perf_counter() - began


def finish(device: torch.device) -> None:
    """Wait until the device has nothing to do."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def by_twos(pairs: list[tuple[float, float]]) -> np.ndarray:
    """Mean seconds of one and other on two neighbouring batches, on which either was the first once: (2, twos)."""
    return np.array(pairs).reshape(-1, 2, 2).mean(axis=1).T


def spread(ratios: np.ndarray) -> dict[str, float]:
    """The median, and the quartiles, which say how far to trust it."""
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {"ratio": float(middle), "lower quartile": float(low), "upper quartile": float(high)}
