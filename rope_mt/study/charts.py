"""Charts that PNG files and the report share; each function draws on axes of matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_mt.study.compare.groups import Group
from rope_mt.system.plots import COLOURS, PAPER, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE = COLOURS[:2]


def plot_scores(path: Path, groups: Sequence[Group], baseline: Group | None) -> None:
    """Write `draw_scores` of test BLEU as PNG.

    Raises:
        UserError: the folder cannot be written.
    """
    with figure(path, width=6.5, height=1.0 + 0.36 * len(groups)) as drawn:
        draw_scores(drawn.subplots(), groups, baseline, "bleu")


def draw_scores(axes: Axes, groups: Sequence[Group], baseline: Group | None, name: str) -> None:
    """A row a group, the best on top: its mean with a bar of ± sd over seeds, and a dot for each seed.

    Args:
        name: of the figure, one of FIGURES.
    """
    groups = sorted(groups, key=lambda group: group.spread(name).mean)
    for y, group in enumerate(groups):
        spread, colour = group.spread(name), ORANGE if group is baseline else BLUE
        axes.errorbar(spread.mean, y, xerr=spread.sd, fmt="|", color=colour, markersize=14, capsize=3)
        seeds = axes.plot(group.values(name), [y] * len(group.runs), "o", color=colour, markersize=5)[0]
        seeds.set(markerfacecolor=PAPER, zorder=3)
    if baseline is not None:
        axes.axvline(baseline.spread(name).mean, color=ORANGE, linewidth=0.8, linestyle="--", zorder=0)
    names = [f"{group.label} (baseline)" if group is baseline else group.label for group in groups]
    axes.set_yticks(range(len(groups)), [textwrap.fill(name, 24) for name in names])
    label = {"bleu": "test BLEU", "chrf": "test chrF"}[name]
    axes.set(xlabel=f"{label}: mean ± sd, and each seed", ylim=(-0.6, len(groups) - 0.4))
    axes.grid(visible=False, axis="y")


@dataclass(frozen=True)
class Line:
    name: str
    label: str  # in the legend, where lines with the same label stand once
    x: Sequence[float | int]
    y: Sequence[float | int]
    style: dict[str, Any]


def draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    labelled = set()
    for line in lines:
        axes.plot(line.x, line.y, label=None if line.label in labelled else line.label, **line.style)
        labelled.add(line.label)


def finish_tokens(axes: Axes) -> None:
    """Label the axes below curves of training."""
    axes.set(xlabel="target tokens seen (millions)", xlim=(0, None))


def finish_bound(axes: Axes, longest: int) -> None:
    """Label the axes of RoPE's relative bound on q·k (RoFormer's figure 2)."""
    axes.set(xlabel="distance m − n (tokens)", xlim=(0, longest), ylim=(0, None))


def finish_over_uniform(axes: Axes) -> None:
    """Logarithmic attention weights over those of uniform attention get a grey line at 1, after all lines are drawn."""
    axes.axhline(1, color="grey", linewidth=0.8)
    use_log_scale(axes)


def use_log_scale(axes: Axes) -> None:
    """A logarithmic vertical axis with plain numbers, after all lines are drawn."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
