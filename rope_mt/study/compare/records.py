"""A comparison for other programs: one JSON object, or CSV with a row a group and a row a run."""

import csv
import io
from typing import Any

from rope_mt.study.compare.comparison import Comparison, Part
from rope_mt.study.compare.groups import Group, Spread
from rope_mt.study.compare.significance import ALPHA, Difference, OverSentences, pairs_by_seed
from rope_mt.study.finished_runs import FIGURES, flat
from rope_mt.system.files import json_text

Seeds = dict[str, list[tuple[int, int]]]  # by label, of each pair: the baseline's seed and the group's


def as_json(comparison: Comparison) -> str:
    """Figures in full; null where there is none, or where a run diverged and it is no number."""
    baseline, signatures = comparison.baseline, comparison.test_signatures
    seeds: Seeds = {
        group.label: pairs_by_seed(baseline.seeds if baseline else [], group.seeds) for group in comparison.groups
    }
    groups, runs = [], []
    for group in comparison.groups:
        test = _difference(comparison.test, group.label, seeds)
        groups.append({**_group(group), "test": test, "length_ratio": comparison.lengths[group.label]})
        for run in group.runs:
            names = {"label": group.label, "position": run.position, "seed": run.seed, "folder": str(run.folder)}
            runs.append({**names, **{name: run.figure(name) for name in FIGURES}})
    record = {
        "baseline": baseline and baseline.label,
        "signature": comparison.signature,
        "sentences": comparison.test.sentences,
        "tests": baseline and {"bootstrap": signatures[0], "randomisation": signatures[1], "alpha": ALPHA},
        "groups": groups,
        "runs": runs,
        "buckets": [
            {"name": bucket.name, "low": bucket.low, "high": bucket.high, **_part(bucket, seeds)}
            for bucket in comparison.buckets
        ],
        "further_tests": [{"name": test.name, **_part(test, seeds)} for test in comparison.additional],
        "tokens_to_baselines_last_loss": comparison.reached and _reached(comparison.reached, seeds),
        "warnings": comparison.warnings,
    }
    return json_text(record, indent=2)


def as_csv(comparison: Comparison) -> str:
    """The groups and after them the runs, whose figures stand under the means; a line of column names first."""
    rows = []
    for group in comparison.groups:
        difference = comparison.test.differences.get(group.label)
        rows.append({"row": "group", **_group(group), "test": _summary(difference) if difference else {}})
    for group in comparison.groups:
        for run in group.runs:
            rows.append({"row": "run", **_group(Group(group.label, [run])), "folder": str(run.folder)})
    flat_rows = [flat({**row, "seeds": " ".join(map(str, row["seeds"]))}) for row in rows]
    out = io.StringIO()
    columns = dict.fromkeys(name for row in flat_rows for name in row)
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat_rows)
    return out.getvalue()


def _group(group: Group) -> dict[str, Any]:
    names = {"label": group.label, "position": group.runs[0].position, "seeds": group.seeds}
    return {**names, **{name: _spread(group.spread(name)) for name in FIGURES}}


def _part(part: Part, seeds: Seeds) -> dict[str, Any]:
    groups = []
    for label, spread in part.bleu.items():
        groups.append({"label": label, "bleu": _spread(spread), "test": _difference(part, label, seeds)})
    return {"sentences": part.sentences, "groups": groups}


def _difference(part: Part, label: str, seeds: Seeds) -> dict[str, Any] | None:
    """The difference of a group from the baseline and those of its pairs; None for the baseline."""
    if label not in part.differences:
        return None
    difference, pairs = part.differences[label], []
    for (theirs, ours), pair in zip(seeds[label], difference.pairs, strict=True):
        pairs.append({"seed": ours, "baseline_seed": theirs, **_over_sentences(pair)})
    return {**_summary(difference), "pairs": pairs}


def _summary(difference: Difference) -> dict[str, Any]:
    return {
        **_over_sentences(difference.together),
        "p_welch": difference.welch,
        "verdict": difference.verdict,
        "seed_noise_measured": difference.welch is not None,
    }


def _over_sentences(tested: OverSentences) -> dict[str, float]:
    return {"delta_bleu": tested.delta, "p_bootstrap": tested.bootstrap, "p_randomisation": tested.randomisation}


def _reached(reached: dict[str, list[float | None]], seeds: Seeds) -> dict[str, list[dict[str, Any]]]:
    rows = {}
    for label, tokens in reached.items():
        rows[label] = [{"seed": ours, "tokens": seen} for (_, ours), seen in zip(seeds[label], tokens, strict=True)]
    return rows


def _spread(spread: Spread) -> dict[str, float | None]:
    return {"mean": spread.mean, "sd": spread.sd}
