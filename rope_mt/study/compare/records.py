"""A comparison for other programs: one JSON object, or CSV with a row a group and a row a run."""

import csv
import io
import json
import math
from typing import Any

from rope_mt.study.compare.comparison import BucketResult, Comparison, FurtherTest
from rope_mt.study.compare.groups import Group, Spread
from rope_mt.study.compare.paired_tests import OverSentences
from rope_mt.study.compare.significance import ALPHA, Difference, pairs_by_seed
from rope_mt.study.finished_runs import FIGURES, flat

Seeds = dict[str, list[tuple[int, int]]]  # by label, of each pair: the baseline's, and the run's own


def as_json(comparison: Comparison) -> str:
    """Figures in full; null where there is none, or where a run diverged and it is no number."""
    baseline, signatures = comparison.baseline, comparison.test_signatures
    against = baseline.seeds if baseline else []
    seeds = {group.label: pairs_by_seed(against, group.seeds) for group in comparison.groups}
    record = {
        "baseline": baseline and baseline.label,
        "signature": comparison.signature,
        "sentences": comparison.sentences,
        "tests": baseline and {"bootstrap": signatures[0], "randomisation": signatures[1], "alpha": ALPHA},
        "groups": [
            {
                **_group(group),
                "test": _tested(comparison.differences.get(group.label), seeds[group.label]),
                "length_ratio": _finite(comparison.lengths[group.label]),
            }
            for group in comparison.groups
        ],
        "runs": [
            {
                "label": group.label,
                "position": run.position,
                "seed": run.seed,
                "folder": str(run.folder),
                **{name: _finite(run.figure(name)) for name in FIGURES},
            }
            for group in comparison.groups
            for run in group.runs
        ],
        "buckets": [_bucket(bucket, seeds) for bucket in comparison.buckets],
        "further_tests": [
            {"name": test.name, "sentences": test.sentences, "groups": _on_part(test, seeds)}
            for test in comparison.further
        ],
        "tokens_to_baselines_last_loss": comparison.reached
        and {
            label: [
                {"seed": seed, "tokens": None if seen is None else _finite(seen)}
                for (_, seed), seen in zip(seeds[label], tokens, strict=True)
            ]
            for label, tokens in comparison.reached.items()
        },
        "warnings": comparison.cautions,
    }
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)


def as_csv(comparison: Comparison) -> str:
    """The groups and after them the runs, whose figures stand under the means; a line of column names first."""
    rows = []
    for group in comparison.groups:
        difference = comparison.differences.get(group.label)
        rows.append({"row": "group", **_group(group), "test": _difference(difference) if difference else {}})
    for group in comparison.groups:
        for run in group.runs:
            rows.append({"row": "run", **_group(Group(group.label, [run])), "folder": str(run.folder)})
    found = [flat({**row, "seeds": " ".join(map(str, row["seeds"]))}) for row in rows]
    columns = dict.fromkeys(name for row in found for name in row)
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue()


def _group(group: Group) -> dict[str, Any]:
    return {
        "label": group.label,
        "position": group.runs[0].position,
        "seeds": group.seeds,
        **{name: _spread(group.spread(name)) for name in FIGURES},
    }


def _spread(spread: Spread) -> dict[str, float | None]:
    return {"mean": _finite(spread.mean), "sd": None if spread.sd is None else _finite(spread.sd)}


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        **_over_sentences(difference.together),
        "p_welch": difference.welch,
        "verdict": difference.verdict,
        "seed_noise_measured": difference.welch is not None,
    }


def _over_sentences(found: OverSentences) -> dict[str, float]:
    return {"delta_bleu": found.delta, "p_bootstrap": found.bootstrap, "p_randomisation": found.randomisation}


def _tested(difference: Difference | None, seeds: list[tuple[int, int]]) -> dict[str, Any] | None:
    """A difference and its pairs, whose seeds are these; None of the baseline, which has none."""
    if difference is None:
        return None
    pairs = [
        {"seed": ours, "baseline_seed": theirs, **_over_sentences(pair)}
        for (theirs, ours), pair in zip(seeds, difference.pairs, strict=True)
    ]
    return {**_difference(difference), "pairs": pairs}


def _bucket(bucket: BucketResult, seeds: Seeds) -> dict[str, Any]:
    return {
        "name": bucket.name,
        "low": bucket.low,
        "high": bucket.high,
        "sentences": bucket.sentences,
        "groups": _on_part(bucket, seeds),
    }


def _on_part(part: BucketResult | FurtherTest, seeds: Seeds) -> list[dict[str, Any]]:
    return [
        {"label": label, "bleu": _spread(spread), "test": _tested(part.differences.get(label), seeds[label])}
        for label, spread in part.bleu.items()
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
