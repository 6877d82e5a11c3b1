"""`rope-mt bench schemes`: how long a training step takes with each position scheme, beside that of a baseline."""

import sys
from typing import Any

import numpy as np

from rope_mt.bench.steps import Times, Training, as_trained, by_twos, first_batches, in_turns, ratio, setup
from rope_mt.config.commands import BenchSchemesConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.errors import UserError
from rope_mt.position import SCHEMES

BASELINE = "sinusoidal-add"  # the Transformer's own, and among the cheapest


def measure(cfg: BenchSchemesConfig) -> dict[str, Any]:
    """Train a few steps with each scheme in turns with the baseline; a line on standard error tells of each."""
    data, precision, device, report = setup(cfg)
    batches = first_batches(data, 2 * cfg.bench.steps)
    names = cfg.bench.schemes or [name for name in SCHEMES if name != BASELINE]
    rows: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names, 1):
        baseline = Training.of(as_trained(cfg, POSITION_CONFIGS[BASELINE]()), data, precision, device)
        try:
            other = Training.of(as_trained(cfg, POSITION_CONFIGS[name]()), data, precision, device)
        except UserError as error:
            rows[name] = {"refused": str(error)}
        else:
            rows[name] = {"parameters": other.parameters, **summary(in_turns([baseline, other], batches))}
        print(f"{name}: {_cost(rows[name])} ({number} of {len(names)})", file=sys.stderr)
    return {**report, "steps of each": 2 * cfg.bench.steps, "schemes": rows}


def summary(times: Times) -> dict[str, float]:
    """Medians and quartiles for the baseline, which is the first model, and another scheme."""
    baseline, other = np.median(by_twos(times), axis=1)
    return {"seconds": float(other), f"seconds of {BASELINE}": float(baseline), **ratio(times)}


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """A heading, and a line per scheme: seconds of its step, of the baseline's, and how much longer it takes."""
    form = "{:<16}{:>12}{:>10}{:>17}{:>13}   {}"
    lines = [form.format("scheme", "parameters", "s/step", BASELINE, "against it", "quartiles")]
    for name, row in rows.items():
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
