"""The charts of a report: intervals and curves of training."""

import math
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from html import escape

from matplotlib.axes import Axes

from rope_mt.errors import UserError
from rope_mt.study import charts
from rope_mt.study.charts import Line
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.report.page import items, paragraph, side_by_side
from rope_mt.system.plots import inline_svg, look

CURVES = {  # names in metrics.jsonl
    "valid/loss": "Validation loss, nats a token",
    "valid/bleu": "Validation BLEU, greedy",
    "train/loss": "Training loss, nats a token",
}
FALLEN = 4  # a loss that falls by this factor has a logarithmic axis, since a linear one would hide its end


def scores(comparison: Comparison) -> str:
    """The interval of each group by each measure, or BLEU where there is none."""
    html = []
    for measure in comparison.measures:
        if measure.intervals:
            title = f"Difference in {charts.AXES[measure.name]}"
            text = "; ".join(f"{label} {each.low:.3f} to {each.high:.3f}" for label, each in measure.intervals.items())
            draw = partial(charts.draw_intervals, measure=measure)
            html.append(_figure(draw, title, text, height=0.9 + 0.4 * len(measure.intervals)))
    if not html:
        text = "; ".join(f"{group.label} {group.spread('bleu').text()}" for group in comparison.groups)
        draw = partial(charts.draw_scores, comparison=comparison)
        html.append(_figure(draw, "Test BLEU", text, height=0.9 + 0.4 * len(comparison.groups)))
    return side_by_side(html)


def training(comparison: Comparison) -> str:
    """Validation loss, validation BLEU and training loss over the target tokens seen, a line a run."""
    lines: dict[str, list[Line]] = {name: [] for name in CURVES}
    missing = []
    for number, group in enumerate(comparison.groups):
        for run in group.runs:
            try:
                of_run = run.curves()
            except UserError as error:
                missing.append(f"no curves: {error}")
                continue
            first = of_run["valid/loss"][0].tokens
            for name, curve in of_run.items():
                style = {"marker": "." if name.startswith("valid") else "", **look(number)}
                drawn = [point for point in curve if point.tokens >= first]
                if drawn:
                    lines[name].append(Line(f"{group.label}, seed {run.seed}", group.label, drawn, style))
    html = []
    for name, title in CURVES.items():
        values = [point.value for line in lines[name] for point in line.curve if math.isfinite(point.value)]
        if values and name.endswith("loss") and 0 < FALLEN * min(values) < max(values):
            html.append(_chart(f"{title}, logarithmic", lines[name], logarithmic=True))
        elif values:
            html.append(_chart(title, lines[name]))
    about = "A line a run. Training loss, which label smoothing raises, is drawn from the first validation on."
    return (paragraph(about, "dim") + side_by_side(html) if html else "") + items(missing, "warnings")


def _chart(title: str, lines: Sequence[Line], logarithmic: bool = False) -> str:
    """Lines with a legend below them."""
    labels = [*dict.fromkeys(line.label for line in lines)]
    longest = max(map(len, labels))
    columns = 3 if longest < 12 else 2 if longest < 20 else 1

    def draw(axes: Axes) -> None:
        charts.draw_lines(axes, lines)
        if logarithmic:
            charts.use_log_scale(axes)
        handles, names = axes.get_legend_handles_labels()
        # lines with the same label stand in the legend once
        handle_of = {textwrap.fill(name, 44): handle for name, handle in zip(names, handles, strict=True)}
        axes.figure.legend(list(handle_of.values()), list(handle_of), loc="outside lower left", ncols=columns)

    ends = []
    for line in lines:
        known = [point.value for point in line.curve if math.isfinite(point.value)]
        ends.append(f"{line.name} ends at {known[-1]:.4g}" if known else f"{line.name} has no number")
    height = 2.7 + 0.24 * math.ceil(len(labels) / columns)
    return _figure(draw, title, "; ".join(ends), height)


def _figure(draw: Callable[[Axes], None], title: str, text: str, height: float) -> str:
    svg = inline_svg(draw, title, text, height)
    return f"<figure>\n<figcaption>{escape(title)}</figcaption>\n{svg}\n</figure>"
