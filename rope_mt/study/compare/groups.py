"""Runs that differ in nothing but their seed, taken together: a name for each such group, its means and spreads."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed, in order of it."""

    label: str
    runs: list[FinishedRun]

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    def values(self, name: str) -> list[float]:
        return [run.figure(name) for run in self.runs]

    def spread(self, name: str) -> Spread:
        return Spread.of(self.values(name))


def labels(runs: list[FinishedRun]) -> list[str]:
    """The scheme of each run, and as many settings as tell apart the runs of a scheme that differ in more than seed.

    A precision that all runs of a seed have in common, as they were made on one machine, is as little told as the seed:
    differences are taken within a seed.
    """
    found = {}
    of_seed: dict[int, set[str]] = {}
    for run in runs:
        of_seed.setdefault(run.seed, set()).add(run.result["precision"])
    ignored = {"precision"} if all(len(precisions) == 1 for precisions in of_seed.values()) else set()
    for position in dict.fromkeys(run.position for run in runs):
        alike = [run for run in runs if run.position == position]
        settings = [{**flat({"position": run.config["position"]}), **run.conditions()} for run in alike]
        told = [position] * len(alike)
        for name in dict.fromkeys(name for each in settings for name in each if name not in ignored):
            more = [f"{label} {_setting(name, each.get(name))}" for label, each in zip(told, settings, strict=True)]
            if len({*more}) > len({*told}):
                told = more
        found |= {run.folder: label for run, label in zip(alike, told, strict=True)}
    return [found[run.folder] for run in runs]


def _setting(name: str, value: Any) -> str:
    """As it is typed, without what it belongs to: norm=pre, but model=tiny."""
    section, _, last = name.rpartition(".")
    said = json.dumps(value) if value is None or isinstance(value, bool) else value  # true, false, null
    return f"{section}={said}" if last == "name" else f"{last}={str(said)[:8] if section == 'text' else said}"


def grouped(runs: list[FinishedRun]) -> tuple[list[Group], list[str]]:
    """The groups in the order of their first runs; and a line for each run left out, as its seed is there already."""
    members: dict[str, dict[int, FinishedRun]] = {}
    said = []
    for run, label in zip(runs, labels(runs), strict=True):
        there = members.setdefault(label, {}).setdefault(run.seed, run)
        if there is not run:
            said.append(f"warning: left out {run.folder}: {there.folder} is {label} with seed {run.seed} too")
    return [Group(label, [of[seed] for seed in sorted(of)]) for label, of in members.items()], said


def choose_baseline(groups: list[Group], wanted: str | None) -> Group:
    """The group of this label or scheme; without one the first with sinusoidal-add, or else the first of all.

    Raises:
        UserError: there is none, or the scheme has several groups.
    """
    if wanted is None:
        return next((group for group in groups if group.runs[0].position == "sinusoidal-add"), groups[0])
    named = [group for group in groups if group.label == wanted]
    named = named or [group for group in groups if group.runs[0].position == wanted]
    if len(named) == 1:
        return named[0]
    there = ", ".join(repr(group.label) for group in named or groups)
    raise UserError(f"--baseline {wanted!r} is {'none' if not named else 'several'} of the groups: take one of {there}")
