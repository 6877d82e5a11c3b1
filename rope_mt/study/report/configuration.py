"""How the runs of a report were made: the settings that differ, those that all share, and the versions."""

import json
from dataclasses import fields
from typing import Any

from rope_mt.config.commands import TrainConfig
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.compare.tables import Sheet
from rope_mt.study.finished_runs import FinishedRun, flat
from rope_mt.study.report.page import folded, pairs, paragraph, table

SKIPPED = ["seed", *(field.name for field in fields(TrainConfig) if not field.metadata.get("identity", True))]
OF_RESULT = ("steps", "processes", "precision", "device", "test_set", "versions", "commit")


def configuration(comparison: Comparison) -> str:
    """A table of the settings that differ between groups, and a folded one of those that all runs share."""
    facts = {group.label: [_facts(run) for run in group.runs] for group in comparison.groups}
    runs = [of_run for of_group in facts.values() for of_run in of_group]
    differing, shared = [], []
    for name in dict.fromkeys(name for of_run in runs for name in of_run):
        if len({of_run.get(name) for of_run in runs}) == 1:
            shared.append([name, runs[0][name]])
        else:
            cells = [dict.fromkeys(of_run.get(name, "–") for of_run in of_group) for of_group in facts.values()]
            differing.append([name, *(" or ".join(values) for values in cells)])
    several = len(runs) > 1
    html = paragraph("The runs differ in nothing but their seed.") if several else ""
    if differing:
        html = table(Sheet(["setting", *facts], differing), "What differs", words=True)
    common = table(Sheet(["setting", "value"], shared), "What is shared" if several else "The run", words=True)
    test = comparison.runs[0].result["test"]
    signatures = [("BLEU", test["bleu_signature"]), ("chrF", test.get("chrf_signature"))]
    return "\n".join(
        [
            html,
            folded(f"{len(shared)} settings and versions {'that all runs share' if several else 'of the run'}", common),
            paragraph("A commit with + behind it had changed files.", "dim"),
            "<h3>sacreBLEU's signatures</h3>",
            pairs((name, str(signature)) for name, signature in signatures if signature),
        ]
    )


def _facts(run: FinishedRun) -> dict[str, str]:
    """Settings by dotted name, and the parts of the result that tell how it came about, all as text."""
    settings: dict[str, Any] = {name: value for name, value in run.config.items() if name not in SKIPPED}
    settings["data"] = {name: value for name, value in settings["data"].items() if name != "recipe"}
    settings |= {name: run.result[name] for name in OF_RESULT if run.result.get(name) is not None}
    facts = {}
    for name, value in flat(settings).items():
        facts[name] = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return facts
