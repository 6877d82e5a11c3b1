"""The figure of a comparison: mean BLEU of each group, its standard deviation, and every seed."""

from pathlib import Path

from rope_mt.study.compare.groups import Group
from rope_mt.system.plots import COLOURS, figure

BLUE, ORANGE = COLOURS[:2]


def plot(path: Path, groups: list[Group], baseline: Group | None) -> None:
    """A row a group, the best on top: its mean with a bar of ± sd over seeds, and a dot for each seed.

    Raises:
        UserError: the folder cannot be written.
    """
    groups = sorted(groups, key=lambda group: group.spread("bleu").mean)
    with figure(path, width=6.5, height=1.0 + 0.36 * len(groups)) as drawn:
        axes = drawn.subplots()
        for y, group in enumerate(groups):
            spread, colour = group.spread("bleu"), ORANGE if group is baseline else BLUE
            axes.errorbar(spread.mean, y, xerr=spread.sd, fmt="|", color=colour, markersize=14, capsize=3)
            seeds = axes.plot(group.values("bleu"), [y] * len(group.runs), "o", color=colour, markersize=5)[0]
            seeds.set(markerfacecolor="#FFFFFF", zorder=3)
        if baseline is not None:
            axes.axvline(baseline.spread("bleu").mean, color=ORANGE, linewidth=0.8, linestyle="--", zorder=0)
        names = [f"{group.label} (baseline)" if group is baseline else group.label for group in groups]
        axes.set_yticks(range(len(groups)), names)
        axes.set(xlabel="test BLEU: mean ± sd, and each seed", ylim=(-0.6, len(groups) - 0.4))
        axes.grid(visible=False, axis="y")
