"""The charts of a report that need no model: mean scores, curves of training, scores by the length of the source."""

import json
import math
from collections.abc import Sequence
from typing import Any

from rope_mt.runs.folder import RunFolder
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.compare.groups import Group
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.study.report import chart
from rope_mt.study.report.chart import Series
from rope_mt.study.report.page import items, paragraph, side_by_side

CURVES = {  # names in metrics.jsonl
    "valid/loss": "Validation loss, nats a token",
    "valid/bleu": "Validation BLEU, greedy",
    "train/loss": "Training loss, nats a token",
}
FALLEN = 4  # by so many times a loss falls where a linear scale would hide its end


def scores(comparison: Comparison) -> str:
    """Mean BLEU and chrF of each group, and every seed."""
    groups = comparison.groups
    label = "mean ± sd, and each seed" if any(len(group.runs) > 1 for group in groups) else "each run"
    label += "" if comparison.baseline is None else "; broken line: the baseline"
    named = {"bleu": "Test BLEU", "chrf": "Test chrF"}
    return side_by_side(
        [chart.spreads(title, label, groups, name, comparison.baseline) for name, title in named.items()]
    )


def training(groups: Sequence[Group]) -> str:
    """Validation loss, validation BLEU and training loss over the target tokens seen, a line a run."""
    found: dict[str, list[Series]] = {name: [] for name in CURVES}
    said = []
    for look, group in enumerate(groups):
        for run in group.runs:
            try:
                curves = _read(run)
            except (OSError, ValueError, TypeError, KeyError) as error:
                said.append(f"{run.folder} has no curves, as its metrics.jsonl cannot be read: {error}")
                continue
            for name, points in curves.items():
                if points:
                    each = Series(f"{group.label}, seed {run.seed}", look, points, marked=name.startswith("valid/"))
                    found[name].append(each)
    tokens = [at for series in found.values() for each in series for at, _ in each.points]
    if not tokens:
        return items(said, "cautions")
    unit, many = (1e6, "millions") if max(tokens) >= 1e6 else (1e3, "thousands")
    drawn = []
    for name, series in found.items():
        if series:
            scaled = [
                Series(each.name, each.look, [(at / unit, value) for at, value in each.points], each.marked)
                for each in series
            ]
            x = chart.linear(f"target tokens seen ({many})", [0.0, max(tokens) / unit], exact=True)
            values = [value for each in scaled for _, value in each.points]
            wide = name.endswith("loss") and 0 < FALLEN * min(values) < max(values)
            y = chart.logarithmic("", values) if wide else chart.linear("", values)
            drawn.append(chart.lines(CURVES[name] + (", logarithmic" if wide else ""), scaled, x, y))
    about = "A line a run. Training loss, which label smoothing raises, is drawn from the first validation on."
    names = [group.label for group in groups]
    return paragraph(about, "dim") + chart.legend(names) + side_by_side(drawn) + items(said, "cautions")


def _read(run: FinishedRun) -> dict[str, list[tuple[float, float]]]:
    """Tokens and value of each point of a run's curves, those of training not before the first validation."""
    lines = RunFolder(run.folder).metrics.read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    curves = {
        name: [
            (float(row["tokens"]), float(row[name]))
            for row in rows
            if name in row and row[name] is not None and math.isfinite(float(row[name]))
        ]
        for name in CURVES
    }
    first = min((at for at, _ in curves["valid/loss"]), default=0.0)
    return {name: [point for point in points if point[0] >= first] for name, points in curves.items()}


def by_length(comparison: Comparison) -> str:
    """BLEU of each group in each bucket of source length, a line a group."""
    buckets = [bucket for bucket in comparison.buckets if bucket.sentences]
    if not buckets:
        return ""
    series = [
        Series(group.label, look, [(float(i), bucket.bleu[group.label].mean) for i, bucket in enumerate(buckets)])
        for look, group in enumerate(comparison.groups)
    ]
    every = math.ceil(len(buckets) / 8)  # names that there is room for
    names = [(float(i), f"{bucket.name}\n{bucket.sentences:,}") for i, bucket in enumerate(buckets)][::every]
    x = chart.Axis("", -0.5, len(buckets) - 0.5, names)
    y = chart.linear("", [0.0, *(value for each in series for _, value in each.points)])
    drawn = chart.lines("BLEU by source length (tokens, and below them sentences)", series, x, y)
    return chart.legend([group.label for group in comparison.groups]) + side_by_side([drawn])
