"""What distance does to attention: RoFormer's relative bound, and what trained models of the comparison look at."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rope_mt.config.plain import from_plain
from rope_mt.config.position import RopeConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.study.analyze.decay import DRAWN, AttentionByDistance, attention_in_text, decay
from rope_mt.study.compare.groups import Group
from rope_mt.study.compare.tables import Sheet
from rope_mt.study.report import chart
from rope_mt.study.report.chart import Series
from rope_mt.study.report.page import items, paragraph, side_by_side, table

SENTENCES = 64  # that models read: some seconds for ten of them
LONGEST = 256  # tokens, of the bound
FAINTEST = 1e-3  # of even attention: what is below is left out of the chart
DISTANCE = "distance m − n in tokens"

Stacks = dict[str, AttentionByDistance]


def by_distance(groups: Sequence[Group], src: list[str], ref: list[str]) -> str:
    """The bound where a group has rope, and the attention of one run of each group or why it is not there."""
    drawn, said, left_out = [], [], []
    if bound := _bound(groups):
        drawn.append(bound)
        said.append(
            "RoFormer's relative bound (section 3.4.3, figure 2) is the factor by which distance limits the product of "
            "query and key with RoPE (eq. 37): it falls, though not at every step, and says nothing of what is learned."
        )
    measured: dict[str, Stacks] = {}
    for group in groups:
        try:
            measured[group.label] = _measured(group, src[:SENTENCES], ref[:SENTENCES])
        except UserError as error:
            left_out.append(f"{group.label}: no attention was measured, {error}")
    sheet = ""
    if measured:
        said.append(
            f"Attention is measured on the first {min(SENTENCES, len(src))} test sentences, in one run of each group: "
            "the mean over layers and heads of the weight that a query m gives to a key n so many tokens away, over "
            "what it would be if every query gave all it sees the same, which is 1 in the charts. A line ends where "
            f"fewer than {DRAWN} pairs of tokens lie so far apart."
        )
        drawn += [_weights(groups, measured, stack) for stack in ("encoder", "decoder")]
        sheet = table(_mean_distances(measured), "Mean distance of attention by layer, in tokens")
    legend = chart.legend([group.label for group in groups]) if drawn else ""
    text = "".join(paragraph(line, "dim") for line in said)
    return text + legend + side_by_side(drawn) + sheet + items(left_out, "cautions")


def _bound(groups: Sequence[Group]) -> str:
    """The bound for each group with rope; nothing where there is none."""
    distance, series = np.arange(LONGEST + 1), []
    for look, group in enumerate(groups):
        cfg = from_plain(group.runs[0].config)
        if isinstance(cfg.position, RopeConfig) and cfg.model.attention != "linear":  # which has no q·k to bound
            d = cfg.position.turned(cfg.model.d_model // cfg.model.n_heads)
            bound, _ = decay(d, cfg.position.theta, distance)
            points = [(float(at), float(value)) for at, value in zip(distance, bound, strict=True)]
            series.append(Series(f"{group.label}, d = {d}", look, points, marked=False))
    if not series:
        return ""
    y = chart.linear("", [0.0, *(value for each in series for _, value in each.points)])
    x = chart.linear(DISTANCE, [0.0, float(LONGEST)], exact=True)
    return chart.lines("RoPE's relative bound on q·k", series, x, y)


def _measured(group: Group, src: list[str], ref: list[str]) -> Stacks:
    """The attention of the first run of a group that still has its checkpoint.

    Raises:
        UserError: none has, it is damaged, or it makes no weights.
    """
    if group.runs[0].config["model"]["attention"] == "linear":
        raise UserError("as linear attention makes no weights")
    there = next((run.folder for run in group.runs if RunFolder(run.folder).average.is_file()), None)
    if there is None:
        raise UserError(f"as {RunFolder(group.runs[0].folder).average} is gone")
    ckpt = checkpoint.load(there)
    return attention_in_text(ckpt, src, ref)


def _weights(groups: Sequence[Group], measured: dict[str, Stacks], stack: str) -> str:
    series = []
    for look, group in enumerate(groups):
        if group.label in measured:
            found = measured[group.label][stack]
            often = found.pairs.numpy() >= DRAWN
            means = found.over_even().mean(axis=(0, 1))[often]
            points = [(float(at), float(weight)) for at, weight in zip(found.distance[often], means, strict=True)]
            series.append(Series(group.label, look, _with_gaps(points), marked=False))
    if not any(each.points for each in series):
        return paragraph(f"{stack.capitalize()}: no distance has {DRAWN} pairs of tokens in these sentences.", "dim")
    label = DISTANCE + (", negative to keys ahead" if stack == "encoder" else "")
    x = chart.linear(label, [at for each in series for at, _ in each.points], exact=True)
    y = chart.logarithmic("", [weight for each in series for _, weight in each.points], FAINTEST)
    return chart.lines(f"{stack.capitalize()}: attention over even attention", series, x, y)


def _with_gaps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """No line is drawn over distances that are left out."""
    gaps = [(a[0] + 1, np.nan) for a, b in pairwise(points) if b[0] > a[0] + 1]
    return sorted([*points, *gaps])


def _mean_distances(measured: dict[str, Stacks]) -> Sheet:
    layers = max(len(found["encoder"].sums) for found in measured.values())
    names = [*map(str, range(1, layers + 1)), "if even"]
    columns = [f"{stack} {name}" for stack in ("encoder", "decoder") for name in names]
    rows = []
    for label, found in measured.items():
        row = [label]
        for stack in (found["encoder"], found["decoder"]):
            means = [f"{mean:.1f}" for mean in stack.mean_distances()]
            row += [*means, *[""] * (layers - len(means)), f"{stack.even_distance():.1f}"]
        rows.append(row)
    return Sheet(["scheme", *columns], rows)
