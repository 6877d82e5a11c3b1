"""`rope-mt analyze convergence`: validation loss against tokens seen, the claim of RoFormer's figure 3."""

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.config.flags import AnalyzeConvergenceConfig
from rope_mt.errors import UserError
from rope_mt.study.curve import Curve
from rope_mt.study.finished_runs import read_runs, warnings
from rope_mt.system.plots import COLOURS, DASHES, figure, write_csv

MARKERS = (".", "^", "s")  # the colours come again with each


def analyze_convergence(cfg: AnalyzeConvergenceConfig) -> None:
    """Write OUT.csv and OUT.png; print when each run reached the baseline's last loss.

    Raises:
        UserError: there is no finished run, or no such run, the baseline has not finished, or a file is damaged.
    """
    curves, baseline, unfinished = _read(cfg.runs, cfg.baseline)
    names = _names(curves)
    console = Console(highlight=False)
    goal = baseline.losses[-1]
    console.print(
        f"baseline: {names[curves.index(baseline)]}, last validation loss {goal:.4f} nats a token", soft_wrap=True
    )
    console.print(table(curves, baseline))
    for line in warnings([curve.run for curve in curves], unfinished):
        console.print(line, soft_wrap=True)

    csv, png = Path(f"{cfg.out}.csv"), Path(f"{cfg.out}.png")
    rows = [
        (curve.run.folder, curve.run.position, curve.run.seed, *row)
        for curve in curves
        for row in zip(curve.steps, curve.tokens, curve.losses, strict=True)
    ]
    write_csv(csv, ("run", "position", "seed", "step", "tokens", "loss"), rows)
    _draw(curves, names, goal, png)
    console.print(Text(f"files: {csv} {png}"), soft_wrap=True)


def _read(folders: list[Path], wanted: Path | None) -> tuple[list[Curve], Curve, list[Path]]:
    """The curves, the baseline, which is one of them, and the folders of runs that have not finished."""
    runs, unfinished = read_runs([*folders, *([wanted] if wanted else [])])
    curves = [Curve.read(run) for run in runs]
    if wanted is None:
        first = next((curve for curve in curves if curve.run.position == "sinusoidal-add"), curves[0])
        return curves, first, unfinished
    baseline = next((curve for curve in curves if curve.run.folder.resolve() == wanted.resolve()), None)
    if baseline is None:
        raise UserError(f"{wanted} holds no finished run, so it cannot be the baseline")
    return curves, baseline, unfinished


def _names(curves: list[Curve]) -> list[str]:
    """Scheme and seed, and the run's key where those do not tell it from another."""
    names = [f"{curve.run.position}, seed {curve.run.seed}" for curve in curves]
    return [
        name if names.count(name) == 1 else f"{name}, {curve.run.result['key']}"
        for name, curve in zip(names, curves, strict=True)
    ]


def table(curves: list[Curve], baseline: Curve) -> Table:
    """A row a run: its last loss, and after how many tokens it had reached the baseline's."""
    goal = baseline.losses[-1]
    needed = baseline.reached(goal)  # at its end or before; None where its loss is no number
    out = Table(box=None, header_style="bold", pad_edge=False)
    out.add_column("run", no_wrap=True)
    for column in ("last valid loss", "tokens seen", f"tokens to {goal:.4f}", "fewer tokens"):
        out.add_column(column, justify="right")
    for curve, name in zip(curves, _names(curves), strict=True):
        reached = curve.reached(goal)
        fewer = "" if needed is None or reached is None else f"{100 * (1 - reached / needed):.1f} %"
        out.add_row(
            name,
            f"{curve.losses[-1]:.4f}",
            f"{curve.tokens[-1] / 1e6:.2f} M",
            "not reached" if reached is None else f"{reached / 1e6:.2f} M",
            "baseline" if curve is baseline else fewer,
        )
    return out


def _draw(curves: list[Curve], names: list[str], goal: float, png: Path) -> None:
    """A colour a scheme, another dash for each further run of it, and a grey line at the baseline's last loss."""
    schemes = [*dict.fromkeys(curve.run.position for curve in curves)]
    drawn_of = dict.fromkeys(schemes, 0)
    inside = len(curves) <= 8  # curves fall, which leaves the upper right corner free
    with figure(png, height=max(4.0, 0.2 * len(curves))) as drawn:
        axes = drawn.subplots()
        if math.isfinite(goal):
            axes.axhline(goal, color="#999999", linewidth=0.8, linestyle="-", zorder=1)
        for curve, name in zip(curves, names, strict=True):
            again, colour = divmod(schemes.index(curve.run.position), len(COLOURS))
            dash = DASHES[drawn_of[curve.run.position] % len(DASHES)]
            drawn_of[curve.run.position] += 1
            millions = [tokens / 1e6 for tokens in curve.tokens]
            line = axes.plot(millions, curve.losses, color=COLOURS[colour], linestyle=dash, label=name)[0]
            line.set(marker=MARKERS[again % len(MARKERS)], markersize=4)
        axes.set(xlabel="target tokens seen (millions)", ylabel="validation loss (nats a token)", xlim=(0, None))
        axes.legend(loc="upper right") if inside else drawn.legend(loc="outside right upper")
