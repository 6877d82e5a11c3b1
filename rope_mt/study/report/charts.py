"""The charts of a report: scores, curves of training, source length, and attention by distance."""

import math
import textwrap
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rope_mt.config.plain import from_plain
from rope_mt.config.position import RopeConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.study import charts
from rope_mt.study.analyze.decay import DRAWN, AttentionByDistance, attention_in_text, decay
from rope_mt.study.charts import Line
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.compare.groups import Group
from rope_mt.study.compare.tables import Sheet
from rope_mt.study.report.page import items, paragraph, side_by_side, table
from rope_mt.study.run_files import curves
from rope_mt.system.plots import inline_svg, look

CURVES = {  # names in metrics.jsonl
    "valid/loss": "Validation loss, nats a token",
    "valid/bleu": "Validation BLEU, greedy",
    "train/loss": "Training loss, nats a token",
}
FALLEN = 4  # a loss that falls by this factor has a logarithmic axis, since a linear one would hide its end
SENTENCES = 64  # for models to read: some seconds for ten models
LONGEST = 256  # tokens, of the bound

Stacks = dict[str, AttentionByDistance]


def scores(comparison: Comparison) -> str:
    """Mean BLEU and chrF of each group, and every seed."""
    html = []
    for name, title in (("bleu", "Test BLEU"), ("chrf", "Test chrF")):
        text = "; ".join(f"{group.label} {group.spread(name).text()}" for group in comparison.groups)

        def draw(drawn: Figure, name: str = name) -> None:
            charts.draw_scores(drawn.subplots(), comparison.groups, comparison.baseline, name)

        svg = inline_svg(draw, title, text, height=0.9 + 0.4 * len(comparison.groups))
        html.append(_figure(title, svg))
    return side_by_side(html)


def training(comparison: Comparison) -> str:
    """Validation loss, validation BLEU and training loss over the target tokens seen, a line a run."""
    lines: dict[str, list[Line]] = {name: [] for name in CURVES}
    missing = []
    for number, group in enumerate(comparison.groups):
        for run in group.runs:
            try:
                of_run = curves(run, *CURVES)
            except UserError as error:
                missing.append(f"no curves: {error}")
                continue
            first = of_run[0].tokens[0]
            for name, curve in zip(CURVES, of_run, strict=True):
                curve = curve.since(first)
                style = {"marker": "." if name.startswith("valid") else "", **look(number)}
                line = Line(f"{group.label}, seed {run.seed}", group.label, curve.millions, curve.values, style)
                lines[name] += [line] if curve.values else []
    html = []
    for name, title in CURVES.items():
        values = [value for line in lines[name] for value in line.y if math.isfinite(value)]
        if values and name.endswith("loss") and 0 < FALLEN * min(values) < max(values):
            html.append(_chart(f"{title}, logarithmic", lines[name], charts.finish_tokens, charts.use_log_scale))
        elif values:
            html.append(_chart(title, lines[name], charts.finish_tokens))
    about = "A line a run. Training loss, which label smoothing raises, is drawn from the first validation on."
    return (paragraph(about, "dim") + side_by_side(html) if html else "") + items(missing, "warnings")


def by_length(comparison: Comparison) -> str:
    """BLEU of each group in each bucket of source length, a line a group."""
    buckets = [bucket for bucket in comparison.buckets if bucket.sentences]
    if not buckets:
        return ""
    places, lines = range(len(buckets)), []
    for number, group in enumerate(comparison.groups):
        means = [bucket.bleu[group.label].mean for bucket in buckets]
        lines.append(Line(group.label, group.label, places, means, {"marker": ".", **look(number)}))
    names = [f"{bucket.name}\n{bucket.sentences:,}" for bucket in buckets]
    every = math.ceil(len(buckets) / 8)  # there is room for eight names

    def finish(axes: Axes) -> None:
        axes.set_xticks(places[::every], names[::every])
        axes.set_ylim(bottom=0)

    return side_by_side([_chart("BLEU by source length (tokens, and below them sentences)", lines, finish)])


def by_distance(groups: Sequence[Group], src: list[str], ref: list[str]) -> str:
    """The bound where a group has rope, and the attention of one run of each group or why it was not measured."""
    html, notes, missing = [], [], []
    if bound := _bound(groups):
        html.append(bound)
        notes.append(
            "RoFormer's relative bound (section 3.4.3, figure 2) is the factor by which distance limits the product of "
            "query and key with RoPE (eq. 37): it falls, though not at every step, and says nothing of what is learned."
        )
    measured: dict[str, Stacks] = {}
    for group in groups:
        try:
            measured[group.label] = _measured(group, src[:SENTENCES], ref[:SENTENCES])
        except UserError as error:
            missing.append(f"{group.label}: no attention was measured, {error}")
    distances = ""
    if measured:
        notes.append(
            f"Attention is measured on the first {min(SENTENCES, len(src))} test sentences, in one run of each group: "
            "the mean over layers and heads of the weight that a query m gives to a key n so many tokens away, over "
            "the weight under uniform attention, where every query gives the same to all that it sees; that is 1 in "
            f"the charts. A line ends where fewer than {DRAWN} pairs of tokens lie so far apart."
        )
        html += [_weights(groups, measured, stack) for stack in ("encoder", "decoder")]
        distances = table(_mean_distances(measured), "Mean distance of attention by layer, in tokens")
    return "".join(
        [*(paragraph(note, "dim") for note in notes), side_by_side(html), distances, items(missing, "warnings")]
    )


def _bound(groups: Sequence[Group]) -> str:
    """The bound for each group with rope; nothing where there is none."""
    distance, lines = np.arange(LONGEST + 1), []
    for number, group in enumerate(groups):
        cfg = from_plain(group.runs[0].config)
        if isinstance(cfg.position, RopeConfig) and cfg.model.attention != "linear":  # which has no q·k to bound
            d = cfg.position.rotated_features(cfg.model.d_model // cfg.model.n_heads)
            bound, _ = decay(d, cfg.position.theta, distance)
            lines.append(Line(group.label, f"{group.label}, d = {d}", distance.tolist(), bound.tolist(), look(number)))
    return (
        _chart("RoPE's relative bound on q·k", lines, lambda axes: charts.finish_bound(axes, LONGEST)) if lines else ""
    )


def _measured(group: Group, src: list[str], ref: list[str]) -> Stacks:
    """The attention of the first run of a group that still has its checkpoint.

    Raises:
        UserError: no run has, the checkpoint is damaged, or the model makes no weights.
    """
    if group.runs[0].config["model"]["attention"] == "linear":
        raise UserError("as linear attention makes no weights")
    for run in group.runs:
        if RunFolder(run.folder).average.is_dir():
            return attention_in_text(checkpoint.load(run.folder), src, ref)
    raise UserError(f"as {RunFolder(group.runs[0].folder).average} is gone")


def _weights(groups: Sequence[Group], measured: dict[str, Stacks], name: str) -> str:
    lines = []
    for number, group in enumerate(groups):
        if group.label in measured:
            stack = measured[group.label][name]
            weights = stack.drawn(stack.over_uniform().mean(axis=(0, 1)))
            if not np.isnan(weights).all():
                points = (stack.distance.tolist(), weights.tolist())
                lines.append(Line(group.label, group.label, *points, look(number)))
    if not lines:
        return paragraph(f"{name.capitalize()}: no distance has {DRAWN} pairs of tokens in these sentences.", "dim")

    def label(axes: Axes) -> None:
        axes.set_xlabel("distance m − n in tokens" + (", negative to keys ahead" if name == "encoder" else ""))

    return _chart(f"{name.capitalize()}: attention over uniform attention", lines, label, charts.finish_over_uniform)


def _mean_distances(measured: dict[str, Stacks]) -> Sheet:
    layers = max(len(stacks["encoder"].sums) for stacks in measured.values())
    names = [*map(str, range(1, layers + 1)), "if uniform"]
    rows = []
    for label, stacks in measured.items():
        row = [label]
        for stack in (stacks["encoder"], stacks["decoder"]):
            means = [f"{mean:.1f}" for mean in stack.mean_distances()]
            row += [*means, *[""] * (layers - len(means)), f"{stack.uniform_distance():.1f}"]
        rows.append(row)
    return Sheet(["scheme", *(f"{stack} {name}" for stack in ("encoder", "decoder") for name in names)], rows)


def _chart(title: str, lines: Sequence[Line], *finish: Callable[[Axes], None]) -> str:
    """Lines with a legend below them.

    Args:
        finish: label the axes when the lines are drawn.
    """
    labels = [*dict.fromkeys(line.label for line in lines)]
    longest = max(map(len, labels))
    columns = 3 if longest < 12 else 2 if longest < 20 else 1

    def draw(drawn: Figure) -> None:
        axes = drawn.subplots()
        charts.draw_lines(axes, lines)
        for step in finish:
            step(axes)
        handles, names = axes.get_legend_handles_labels()
        drawn.legend(handles, [textwrap.fill(name, 44) for name in names], loc="outside lower left", ncols=columns)

    ends = []
    for line in lines:
        known = [value for value in line.y if math.isfinite(value)]
        ends.append(f"{line.name} ends at {known[-1]:.4g}" if known else f"{line.name} has no number")
    height = 2.7 + 0.24 * math.ceil(len(labels) / columns)
    return _figure(title, inline_svg(draw, title, "; ".join(ends), height=height))


def _figure(title: str, svg: str) -> str:
    return f"<figure>\n<figcaption>{escape(title)}</figcaption>\n{svg}\n</figure>"
