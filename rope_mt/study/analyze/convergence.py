"""`rope-mt analyze convergence`: validation loss against tokens seen, the claim of RoFormer's figure 3."""

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.config.flags import AnalyzeConvergenceConfig
from rope_mt.errors import UserError
from rope_mt.study.charts import Line, draw_lines
from rope_mt.study.finished_runs import FinishedRun, Point, read_runs, tokens_to, warnings_about
from rope_mt.system.plots import COLOURS, DASHES, figure, write_csv

MARKERS = (".", "^", "s")  # the ninth scheme has the colour of the first and the next marker


def analyze_convergence(cfg: AnalyzeConvergenceConfig) -> None:
    """Write OUT.csv and OUT.png; print when each run reached the baseline's last loss.

    Raises:
        UserError: there is no finished run, or no such run, the baseline has not finished, or a file is damaged.
    """
    runs, unfinished = read_runs([*cfg.runs, *([cfg.baseline] if cfg.baseline else [])])
    baseline = _choose_baseline(runs, cfg.baseline)
    curves = [run.curves()["valid/loss"] for run in runs]
    names = _names(runs)
    goal = curves[baseline][-1].value
    console = Console(highlight=False)
    console.print(f"baseline: {names[baseline]}, last validation loss {goal:.4f} nats a token", soft_wrap=True)
    console.print(table(names, curves, baseline))
    for line in warnings_about(runs, unfinished):
        console.print(Text(line, "yellow"), soft_wrap=True)

    csv, png = Path(f"{cfg.out}.csv"), Path(f"{cfg.out}.png")
    rows = []
    for run, curve in zip(runs, curves, strict=True):
        rows += [(run.folder, run.position, run.seed, *point) for point in curve]
    write_csv(csv, ("run", "position", "seed", "step", "tokens", "loss"), rows)
    _draw(runs, names, curves, goal, png)
    console.print(Text(f"files: {csv} {png}"), soft_wrap=True)


def _choose_baseline(runs: list[FinishedRun], wanted: Path | None) -> int:
    """The index of the wanted run, or of the first with sinusoidal-add, or else 0."""
    for i, run in enumerate(runs):
        if run.folder.resolve() == wanted.resolve() if wanted else run.position == "sinusoidal-add":
            return i
    if wanted:
        raise UserError(f"{wanted} holds no finished run, so it cannot be the baseline")
    return 0


def _names(runs: list[FinishedRun]) -> list[str]:
    """Scheme and seed, and the run's key where several runs have the same."""
    names = [f"{run.position}, seed {run.seed}" for run in runs]
    keys = [run.result["key"] for run in runs]
    return [name if names.count(name) == 1 else f"{name}, {key}" for name, key in zip(names, keys, strict=True)]


def table(names: list[str], curves: list[list[Point]], baseline: int) -> Table:
    """A row a run: its last loss, and after how many tokens it had reached the baseline's.

    Args:
        baseline: its index.
    """
    goal = curves[baseline][-1].value
    needed = tokens_to(goal, curves[baseline])  # at its end or before; None where its loss is no number
    out = Table(box=None, header_style="bold", pad_edge=False)
    out.add_column("run", no_wrap=True)
    for column in ("last valid loss", "tokens seen", f"tokens to {goal:.4f}", "fewer tokens"):
        out.add_column(column, justify="right")
    for i, (name, curve) in enumerate(zip(names, curves, strict=True)):
        reached = tokens_to(goal, curve)
        fewer = "" if needed is None or reached is None else f"{100 * (1 - reached / needed):.1f} %"
        out.add_row(
            name,
            f"{curve[-1].value:.4f}",
            f"{curve[-1].tokens / 1e6:.2f} M",
            "not reached" if reached is None else f"{reached / 1e6:.2f} M",
            "baseline" if i == baseline else fewer,
        )
    return out


def _draw(runs: list[FinishedRun], names: list[str], curves: list[list[Point]], goal: float, png: Path) -> None:
    """A colour a scheme, another dash for each further run of it, and a grey line at the baseline's last loss."""
    positions = [run.position for run in runs]
    schemes = [*dict.fromkeys(positions)]
    lines = []
    for i, (name, curve) in enumerate(zip(names, curves, strict=True)):
        again, colour = divmod(schemes.index(positions[i]), len(COLOURS))
        dash = DASHES[positions[:i].count(positions[i]) % len(DASHES)]
        style = {"color": COLOURS[colour], "linestyle": dash, "marker": MARKERS[again % len(MARKERS)], "markersize": 4}
        lines.append(Line(name, name, curve, style))
    with figure(png, height=max(4.0, 0.2 * len(runs))) as drawn:
        axes = drawn.subplots()
        if math.isfinite(goal):
            axes.axhline(goal, color="#999999", linewidth=0.8, linestyle="-", zorder=1)
        draw_lines(axes, lines)
        axes.set(ylabel="validation loss (nats a token)")
        if len(runs) <= 8:  # curves fall, which leaves the upper right corner free
            axes.legend(loc="upper right")
        else:
            drawn.legend(loc="outside right upper")
