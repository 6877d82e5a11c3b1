"""`rope-mt bench schemes`: what one training step costs with each position scheme, relative to one of them.

Each model trains in turns with the baseline (see `steps`). Of the ratios the median is given, and the quartiles say how
far to trust it.
"""

import sys
from typing import Any

import numpy as np
import torch

from rope_mt.bench.steps import SEED, WARM_UP, Training, as_trained, by_twos, first_batches, in_turns, spread
from rope_mt.config.commands import BenchSchemesConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.data.batches import Batch
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare
from rope_mt.errors import UserError
from rope_mt.position import SCHEMES
from rope_mt.system.device import choose_device, choose_precision, describe

BASELINE = "sinusoidal-add"  # the Transformer's own, and among the cheapest


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


def against_baseline(
    cfg: BenchSchemesConfig,
    name: str,
    data: TranslationData,
    batches: list[Batch],
    precision: str,
    device: torch.device,
) -> dict[str, Any]:
    """What a step costs with this scheme; or, where the model does not go with it, why it is refused."""
    positions = {position.name: position for position in POSITION_CONFIGS}
    baseline = Training.of(as_trained(cfg, positions[BASELINE]()), data, precision, device)
    try:
        other = Training.of(as_trained(cfg, positions[name]()), data, precision, device)
    except UserError as error:
        return {"refused": str(error)}
    pairs = list(in_turns(baseline, other, batches))[WARM_UP:]
    return {"parameters": sum(p.numel() for p in other.module.parameters()), **summary(pairs)}


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Medians, and the quartiles of the ratio, from the seconds of baseline and other on each batch."""
    baseline, other = by_twos(pairs)
    return {
        "seconds": float(np.median(other)),
        f"seconds of {BASELINE}": float(np.median(baseline)),
        **spread(other / baseline),
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
