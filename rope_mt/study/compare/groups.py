"""Runs that differ in nothing but their seed form a group: its label, its means and spreads."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rope_mt.errors import UserError
from rope_mt.study.finished_runs import FinishedRun, flat


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds."""

    mean: float
    sd: float | None  # None: there is one seed

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        if not all(map(math.isfinite, values)):  # a run diverged
            return cls(math.nan, math.nan if len(values) > 1 else None)
        return cls(fmean(values), stdev(values) if len(values) > 1 else None)

    def text(self, digits: int = 2) -> str:
        """As in 84.65 ± 0.51."""
        return f"{self.mean:.{digits}f}" + ("" if self.sd is None else f" ± {self.sd:.{digits}f}")


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed, sorted by it."""

    label: str
    runs: list[FinishedRun]

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    def values(self, figure: str) -> list[float]:
        return [run.figure(figure) for run in self.runs]

    def spread(self, figure: str) -> Spread:
        return Spread.of(self.values(figure))


def labels(runs: list[FinishedRun]) -> list[str]:
    """The scheme of each run, and as many settings as tell apart the runs of a scheme that differ in more than seed.

    A precision that all runs of a seed have in common, as they were made on one machine, is no part of a label, as the
    seed is none.
    """
    precisions: dict[int, set[str]] = {}
    for run in runs:
        precisions.setdefault(run.seed, set()).add(run.result["precision"])
    one_a_seed = all(len(names) == 1 for names in precisions.values())
    label_of: dict[Path, str] = {}
    for position in dict.fromkeys(run.position for run in runs):
        alike = [run for run in runs if run.position == position]
        settings = [{**flat({"position": run.config["position"]}), **run.conditions()} for run in alike]
        names = [position] * len(alike)
        for name in dict.fromkeys(name for of_run in settings for name in of_run):
            if name == "precision" and one_a_seed:
                continue
            longer = [
                f"{label} {_setting(name, of_run.get(name))}" for label, of_run in zip(names, settings, strict=True)
            ]
            if len({*longer}) > len({*names}):
                names = longer
        label_of |= {run.folder: label for run, label in zip(alike, names, strict=True)}
    return [label_of[run.folder] for run in runs]


def _setting(name: str, value: Any) -> str:
    """A setting as it is typed, without its section: norm=pre, but model=tiny."""
    section, _, last = name.rpartition(".")
    text = json.dumps(value) if value is None or isinstance(value, bool) else str(value)  # true, false, null
    if last == "name":
        return f"{section}={text}"
    return f"{last}={text[:8] if section == 'text' else text}"


def grouped(runs: list[FinishedRun]) -> tuple[list[Group], list[str]]:
    """The groups in the order of their first runs; and a warning for each run skipped, as its group has its seed."""
    members: dict[str, dict[int, FinishedRun]] = {}
    skipped = []
    for run, label in zip(runs, labels(runs), strict=True):
        first = members.setdefault(label, {}).setdefault(run.seed, run)
        if first is not run:
            skipped.append(f"warning: skipped {run.folder}: {first.folder} is {label} with seed {run.seed} too")
    groups = [Group(label, [runs_of[seed] for seed in sorted(runs_of)]) for label, runs_of in members.items()]
    return groups, skipped


def choose_baseline(groups: list[Group], wanted: str | None) -> Group:
    """The group of this label or scheme; without one the first with sinusoidal-add, or else the first of all.

    One that was trained with consecutive positions goes before others.

    Raises:
        UserError: there is none, or the scheme has several groups.
    """
    if wanted is None:
        first = [group.runs[0] for group in groups]
        rank = [(run.position != "sinusoidal-add", run.config["positions"]["name"] != "consecutive") for run in first]
        return groups[rank.index(min(rank))]
    named = [group for group in groups if group.label == wanted]
    named = named or [group for group in groups if group.runs[0].position == wanted]
    if len(named) == 1:
        return named[0]
    choices = ", ".join(repr(group.label) for group in named or groups)
    amount = "several" if named else "none"
    raise UserError(f"--baseline {wanted!r} is {amount} of the groups: take one of {choices}")
