"""Charts that PNG files and the report share; each function draws on axes of matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_mt.study.compare.comparison import Comparison, Measure
from rope_mt.study.finished_runs import Point
from rope_mt.system.plots import COLOURS, INK, PAPER, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE = COLOURS[:2]
COLOUR_OF = {"better": BLUE, "worse": ORANGE, "not told apart": COLOURS[7]}
AXES = {"loss": "loss (left is better)", "valid_loss": "validation loss (left is better)"}
AXES |= {"chrf": "chrF (right is better)", "bleu": "BLEU (right is better)"}


def plot(path: Path, comparison: Comparison) -> None:
    """Write the intervals of all measures as PNG, or each seed's test BLEU where there are none.

    Raises:
        UserError: the folder cannot be written.
    """
    measures = [measure for measure in comparison.measures if measure.intervals]
    with figure(path, width=8.0 if measures else 6.5, height=1.2 + 0.36 * len(comparison.groups)) as drawn:
        if not measures:
            draw_scores(drawn.subplots(), comparison)
            return
        for axes, measure in zip(drawn.subplots(1, len(measures), sharey=True), measures, strict=True):
            draw_intervals(axes, measure)
        assert comparison.baseline is not None
        title = f"Difference from {comparison.baseline.label} (line at 0) with simultaneous 95 % intervals"
        drawn.suptitle(f"{title}\nblue: better, orange: worse, grey: not told apart")


def draw_intervals(axes: Axes, measure: Measure) -> None:
    """A forest plot: a row a scheme, its difference from the baseline and the interval, coloured by the verdict."""
    labels = [*measure.intervals][::-1]
    for y, label in enumerate(labels):
        interval = measure.intervals[label]
        half, colour = (interval.high - interval.low) / 2, COLOUR_OF[measure.verdicts[label]]
        axes.errorbar(interval.difference, y, xerr=half, fmt="o", color=colour, markersize=5, capsize=3)
    axes.axvline(0, color=INK, linewidth=0.8, linestyle="--", zorder=0)
    axes.set_yticks(range(len(labels)), [textwrap.fill(label, 24) for label in labels])
    axes.set(xlabel=AXES[measure.name], ylim=(-0.6, len(labels) - 0.4))
    axes.grid(visible=False, axis="y")


def draw_scores(axes: Axes, comparison: Comparison) -> None:
    """A row a group, the best on top: its mean test BLEU with a bar of ± sd over seeds, and a dot for each seed."""
    groups = sorted(comparison.groups, key=lambda group: group.spread("bleu").mean)
    for y, group in enumerate(groups):
        spread = group.spread("bleu")
        axes.errorbar(spread.mean, y, xerr=spread.sd, fmt="|", color=BLUE, markersize=14, capsize=3)
        seeds = axes.plot(group.values("bleu"), [y] * len(group.runs), "o", color=BLUE, markersize=5)[0]
        seeds.set(markerfacecolor=PAPER, zorder=3)
    axes.set_yticks(range(len(groups)), [textwrap.fill(group.label, 24) for group in groups])
    axes.set(xlabel="test BLEU: mean ± sd, and each seed", ylim=(-0.6, len(groups) - 0.4))
    axes.grid(visible=False, axis="y")


@dataclass(frozen=True)
class Line:
    name: str
    label: str  # in the legend
    curve: Sequence[Point]
    style: dict[str, Any]


def draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Curves of training over the target tokens seen."""
    for line in lines:
        millions = [point.tokens / 1e6 for point in line.curve]
        axes.plot(millions, [point.value for point in line.curve], label=line.label, **line.style)
    axes.set(xlabel="target tokens seen (millions)", xlim=(0, None))


def use_log_scale(axes: Axes) -> None:
    """A logarithmic vertical axis with plain numbers, after all lines are drawn."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
