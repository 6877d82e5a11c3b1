"""Models in training, step by step, and several of them in turns on the same batches.

The speed of a machine that others use, too, drifts by more than models differ. So models take turns, and their times on
the same batches are compared. Each has first made a step on every shape of batch, for which memory is allocated and
kernels are compiled, since training makes thousands of steps on each. The system that makes the second step on a batch
finds it in the processor's cache. So every other batch has the opposite order, and two neighbouring batches together
give one ratio.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from rope_mt.bench.peers import Baseline
from rope_mt.config.commands import BenchDecodeConfig, BenchSchemesConfig, BenchTrainConfig, TrainConfig
from rope_mt.config.position import PositionConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data.batches import Batch
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare
from rope_mt.system.device import choose_device, choose_precision, computing_in, describe
from rope_mt.training.module import TranslationModule

SEED = 1
Times = Float[np.ndarray, "systems batches"]  # seconds of a step of each model


def as_trained(cfg: BenchSchemesConfig | BenchTrainConfig | BenchDecodeConfig, position: PositionConfig) -> TrainConfig:
    """The settings of `rope-mt train` with the same data and model, and with Adam, which the baseline has, too."""
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


def setup(cfg: BenchSchemesConfig | BenchTrainConfig) -> tuple[TranslationData, str, torch.device, dict[str, Any]]:
    """The training text, the precision and the device, and the lines with which the report begins."""
    device = choose_device(cfg.device)
    precision = choose_precision(cfg.precision, device)
    corpus = locate(cfg.data)
    data = TranslationData(cfg.data, prepare(cfg.data, corpus), corpus.valid, SEED)
    model = f"{shape(cfg.model)}, {cfg.model.attention}"
    report = {"corpus": cfg.data.name, "slots of a batch": cfg.data.batch_tokens, "model": model}
    if isinstance(cfg, BenchTrainConfig):
        report["position"] = cfg.position.name
    report |= {"vocabulary": len(data.tokenizer), "device": describe(device), "precision": precision}
    return data, precision, device, report


def precisions(system: str, device: torch.device) -> list[str]:
    """The precisions in which a system is measured: fp32, and a faster one that this machine computes natively."""
    if system == "ctranslate2":
        return ["fp32", "int8" if device.type == "cpu" else "fp16"]
    native = choose_precision("auto", device)
    return ["fp32"] if native == "fp32" else ["fp32", native]


def shape(model: ModelConfig) -> str:
    layers = f"{model.n_layers}+{model.n_layers} layers"
    return f"{model.name}: {layers}, d_model {model.d_model}, {model.n_heads} heads"


def endless(data: TranslationData) -> Iterator[Batch]:
    """The batches that training draws, epoch after epoch."""
    return chain.from_iterable(repeat(data.train_dataloader()))


def first_batches(data: TranslationData, n: int) -> list[Batch]:
    return list(islice(endless(data), n))


class Training:
    """A model in training as by `rope-mt train`, but step by step; or the baseline."""

    def __init__(self, module: TranslationModule | Baseline, precision: str, device: torch.device) -> None:
        self.module, self.precision, self.device = module.to(device), precision, device
        self.threads = torch.get_num_threads()  # that `seconds` uses for a step
        self.parameters = sum(weights.numel() for weights in module.parameters())
        configured = self.module.configure_optimizers()
        self.optimizer, self.schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]

    @classmethod
    def of(cls, train: TrainConfig, data: TranslationData, precision: str, device: torch.device) -> "Training":
        """Our model, with the weights that training begins with."""
        torch.manual_seed(SEED)
        return cls(TranslationModule(train, data, precision), precision, device)

    def step(self, batch: Batch, part_ends: Callable[[], Any] = lambda: None) -> Tensor:
        """Make an update on a batch that is on the model's device, and return its loss.

        `part_ends` is called after the loss, after the gradients, and after the update.
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


def in_turns(systems: Sequence[Training], batches: list[Batch]) -> Times:
    """Train all models on the same batches, and time them."""
    for system in systems:
        warm_up(system, batches)
    times = np.zeros((len(systems), len(batches)))
    for number, batch in enumerate(batches):
        batch = move_data_to_device(batch, systems[0].device)
        for which in range(len(systems))[:: -1 if number % 2 else 1]:
            times[which, number] = seconds(systems[which], batch)
    return times


def warm_up(training: Training, batches: list[Batch]) -> None:
    """Make a step on one batch of each shape."""
    for batch in {(batch.src.shape, batch.tgt_in.shape): batch for batch in batches}.values():
        seconds(training, move_data_to_device(batch, training.device))


def seconds(training: Training, batch: Batch) -> float:
    """How long a step takes with the threads of its training."""
    if training.threads != torch.get_num_threads():
        torch.set_num_threads(training.threads)
    return time_of(lambda: training.step(batch), training.device)


def time_of(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of some work, until the device has finished it."""
    finish(device)
    began = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - began


def finish(device: torch.device) -> None:
    """Wait until the device has nothing to do."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def by_twos(times: Times) -> Float[np.ndarray, "systems twos"]:
    """Mean seconds of each model on two neighbouring batches."""
    return times.reshape(len(times), -1, 2).mean(axis=2)


def ratio(times: Times) -> dict[str, float]:
    """How many times as long the second of two models takes: the median, and the quartiles."""
    first, second = by_twos(times)
    low, middle, high = np.quantile(second / first, [0.25, 0.5, 0.75])
    return {"ratio": float(middle), "lower quartile": float(low), "upper quartile": float(high)}
