"""`rope-mt bench schemes`: what one training step costs with each position scheme, relative to one of them.

The speed of a machine that others use as well drifts by more than schemes differ. So two models train in turns on the
same batches, and what counts is how long the one took by how long the other took just before or after. The first step
on a batch also pays for memory of its shape, which the second finds there, so of two batches each model is the first
on one, and both together give one ratio. Of these the median is given, and the quartiles say how far to trust it.
"""

import sys
import time
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch

from rope_mt.config.commands import BenchSchemesConfig, TrainConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data.corpus import locate
from rope_mt.data.prepare import prepare
from rope_mt.data.stream import Batch, TranslationData
from rope_mt.device import choose_device, choose_precision, computing_in, describe
from rope_mt.errors import UserError
from rope_mt.position import SCHEMES
from rope_mt.training.module import TranslationModule

BASELINE = "sinusoidal-add"  # the Transformer's own, and among the cheapest
SEED = 1
WARM_UP = 6  # pairs of steps that are not counted: memory is claimed in them, and kernels are chosen


def measure(cfg: BenchSchemesConfig) -> dict[str, Any]:
    """Train a few steps with each scheme beside the baseline; a line on standard error tells of each.

    Raises:
        UserError: there is no such device, or the text of the corpus is not there.
    """
    device = choose_device(cfg.device)
    precision = choose_precision(cfg.precision, device)
    text_of = locate(cfg.data)
    data = TranslationData(cfg.data, prepare(cfg.data, text_of), text_of, SEED)
    batches = first_batches(data, WARM_UP + 2 * cfg.bench.steps)
    names = cfg.bench.schemes or [name for name in SCHEMES if name != BASELINE]
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names, 1):
        found[name] = against_baseline(cfg, name, data, batches, precision, device)
        print(f"{name}: {_cost(found[name])} ({number} of {len(names)})", file=sys.stderr, flush=True)
    m = cfg.model
    return {
        "corpus": cfg.data.name,
        "slots of a batch": cfg.data.batch_tokens,
        "model": f"{m.name}: {m.n_layers}+{m.n_layers} layers, d_model {m.d_model}, {m.n_heads} heads, {m.attention}",
        "vocabulary": len(data.tokenizer),
        "device": describe(device),
        "precision": precision,
        "steps of each": 2 * cfg.bench.steps,
        "schemes": found,
    }


def first_batches(data: TranslationData, n: int) -> list[Batch]:
    """The first n batches that training would draw, from as many epochs as it takes."""
    return list(islice(chain.from_iterable(repeat(data.train_dataloader())), n))


def against_baseline(
    cfg: BenchSchemesConfig,
    name: str,
    data: TranslationData,
    batches: list[Batch],
    precision: str,
    device: torch.device,
) -> dict[str, Any]:
    """What a step costs with this scheme; or, where the model does not go with it, why it is refused."""
    baseline = Training(cfg, BASELINE, data, precision, device)
    try:
        other = Training(cfg, name, data, precision, device)
    except UserError as error:
        return {"refused": str(error)}
    pairs = list(in_turns(baseline, other, batches))[WARM_UP:]
    return {"parameters": sum(p.numel() for p in other.module.parameters()), **summary(pairs)}


class Training:
    """A model in training with one scheme, as `rope-mt train` does it, but step by step.

    Raises:
        UserError: the model does not go with the scheme.
    """

    def __init__(
        self, cfg: BenchSchemesConfig, scheme: str, data: TranslationData, precision: str, device: torch.device
    ) -> None:
        recipe = cfg.data.recipe
        train = TrainConfig(
            seed=SEED,
            position={position.name: position for position in POSITION_CONFIGS}[scheme](),
            model=cfg.model,
            data=cfg.data,
            optimizer=OptimizerConfig(lr=recipe.lr, warmup_steps=recipe.warmup_steps),
            trainer=TrainerConfig(recipe.max_steps, recipe.val_every, recipe.val_sentences),
            search=SearchConfig(beam=1, length_penalty=0.0),
            tracking=TrackingConfig("none"),
        )
        torch.manual_seed(SEED)
        self.precision, self.device = precision, device
        self.module = TranslationModule(train, data, precision).to(device)
        made = self.module.configure_optimizers()
        self.optimizer, self.schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]

    def step(self, batch: Batch) -> None:
        """Gradient of the smoothed loss, clipped; Adam; and on to the next learning rate."""
        self.optimizer.zero_grad()
        with computing_in(self.precision, self.device):
            loss = self.module.training_step(batch, 0)
        loss.backward()
        self.module.on_before_optimizer_step(self.optimizer)
        self.optimizer.step()
        self.schedule.step()


def in_turns(baseline: Training, other: Training, batches: list[Batch]) -> Iterator[tuple[float, float]]:
    """Seconds that a step of either takes, batch by batch; who goes first alternates."""
    for number, batch in enumerate(batches):
        there = Batch(*(part.to(baseline.device) for part in batch))
        if number % 2:
            second = seconds(other, there)
            yield seconds(baseline, there), second
        else:
            first = seconds(baseline, there)
            yield first, seconds(other, there)


def seconds(training: Training, batch: Batch) -> float:
    """How long a step takes, until the device has done all of it."""
    _finish(training.device)
    began = time.perf_counter()
    training.step(batch)
    _finish(training.device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Medians, and the quartiles of the ratio, from the seconds of baseline and other on each batch.

    Two neighbouring batches, on which either was the first once, count as one.
    """
    baseline, other = np.array(pairs).reshape(-1, 2, 2).mean(axis=1).T
    low, middle, high = np.quantile(other / baseline, [0.25, 0.5, 0.75])
    return {
        "seconds": float(np.median(other)),
        f"seconds of {BASELINE}": float(np.median(baseline)),
        "ratio": float(middle),
        "lower quartile": float(low),
        "upper quartile": float(high),
    }


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each scheme, under a heading: seconds of its step, of the baseline's, and how much more they are."""
    form = "{:<16}{:>12}{:>10}{:>17}{:>13}   {}"
    lines = [form.format("scheme", "parameters", "s/step", BASELINE, "against it", "quartiles")]
    for name, row in found.items():
        if "refused" in row:
            lines.append(f"{name:<16}refused: {row['refused']}")
            continue
        times = (f"{row[key]:.4f}" for key in ("seconds", f"seconds of {BASELINE}"))
        quartiles = " to ".join(percent(row[key]) for key in ("lower quartile", "upper quartile"))
        lines.append(form.format(name, f"{row['parameters']:,}", *times, _cost(row), quartiles))
    return lines


def _cost(row: dict[str, Any]) -> str:
    return "refused" if "refused" in row else percent(row["ratio"])


def percent(ratio: float) -> str:
    """How much more than 1: 1.031 is +3.1 %."""
    return f"{100 * (ratio - 1):+.1f} %"
