"""A comparison for other programs: one JSON object, or CSV with a row a group and a row a run."""

from dataclasses import asdict
from typing import Any

from rope_mt.study.compare.comparison import Comparison, Part
from rope_mt.study.compare.groups import Group
from rope_mt.study.compare.intervals import LEVEL, RESAMPLES, SEED
from rope_mt.study.finished_runs import FIGURES, flat
from rope_mt.system.files import json_text
from rope_mt.system.plots import csv_text


def as_json(comparison: Comparison) -> str:
    """Figures in full; null where there is none, or where a run diverged and it is no number."""
    baseline, runs = comparison.baseline, []
    for group in comparison.groups:
        for run in group.runs:
            names = {"label": group.label, "position": run.position, "seed": run.seed, "folder": str(run.folder)}
            runs.append({**names, **{name: run.figure(name) for name in FIGURES}})
    record = {
        "baseline": baseline and baseline.label,
        "signature": comparison.signature,
        "judged_on": comparison.judged,
        "sentences": comparison.units[0],
        "documents": comparison.units[1],
        "level": LEVEL,
        "resamples": RESAMPLES,
        "resampling_seed": SEED,
        "paired_tests": comparison.paired,
        "groups": [{**_group(group), **_judged(comparison, group)} for group in comparison.groups],
        "runs": runs,
        "buckets": [{"low": bucket.low, "high": bucket.high, **_part(bucket)} for bucket in comparison.buckets],
        "tests": [_part(test) for test in comparison.tests],
        "tokens_to_baselines_last_loss": comparison.reached,
        "warnings": comparison.warnings,
    }
    return json_text(record, indent=2)


def as_csv(comparison: Comparison) -> str:
    """The groups and after them the runs, whose figures stand under the means; a line of column names first."""
    rows: list[dict[str, Any]] = []
    for group in comparison.groups:
        rows.append({"row": "group", **_group(group), **_judged(comparison, group)})
    for group in comparison.groups:
        for run in group.runs:
            rows.append({"row": "run", **_group(Group(group.label, [run])), "folder": str(run.folder)})
    flat_rows = [flat({**row, "seeds": " ".join(map(str, row["seeds"]))}) for row in rows]
    columns = [*dict.fromkeys(name for row in flat_rows for name in row)]
    return csv_text(columns, ([row.get(name) for name in columns] for row in flat_rows))


def _group(group: Group) -> dict[str, Any]:
    names = {"label": group.label, "position": group.runs[0].position, "seeds": group.seeds}
    return {**names, **{name: asdict(group.spread(name)) for name in FIGURES}}


def _judged(comparison: Comparison, group: Group) -> dict[str, Any]:
    """The verdict by each measure, with the difference and its interval where there is one."""
    judged = {}
    for measure in comparison.measures:
        interval, agreement = measure.intervals.get(group.label), measure.agreement(group.label)
        judged[measure.name] = {
            "mean": sum(measure.values[group.label]) / len(group.runs),
            **(asdict(interval) if interval else {}),
            **({} if agreement is None else {"human_agreement": agreement}),
            "verdict": measure.verdicts[group.label],
        }
    says = comparison.says(group.label) if judged and group is not comparison.baseline else None
    return {"length_ratio": comparison.lengths[group.label], "judged": judged, "says": says}


def _part(part: Part) -> dict[str, Any]:
    bleu = {label: asdict(spread) for label, spread in part.bleu.items()}
    return {"name": part.name, "sentences": part.sentences, "bleu": bleu}
