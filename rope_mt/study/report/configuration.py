"""How the runs of a report were made: settings in which they differ, settings that they share, what computed them."""

import json
from collections.abc import Sequence
from dataclasses import fields
from html import escape
from typing import Any

from rope_mt.config.commands import TrainConfig
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.compare.groups import Group
from rope_mt.study.compare.tables import Sheet
from rope_mt.study.finished_runs import FinishedRun, flat
from rope_mt.study.report.page import folded, paragraph, table

UNTOLD = ["seed", *(field.name for field in fields(TrainConfig) if not field.metadata.get("identity", True))]
OF_RESULT = ("steps", "processes", "precision", "device", "test_set", "versions", "commit")


def configuration(comparison: Comparison) -> str:
    """What differs between groups, in full, and what all runs share, folded."""
    groups = comparison.groups
    facts = {group.label: [_facts(run) for run in group.runs] for group in groups}
    runs = [each for of in facts.values() for each in of]
    names = [*dict.fromkeys(name for each in runs for name in each)]
    shared = [name for name in names if len({each.get(name) for each in runs}) == 1]
    differing = Sheet(
        ["setting", *facts],
        [[name, *(_said(of, name) for of in facts.values())] for name in names if name not in shared],
    )
    common = Sheet(["setting", "value"], [[name, runs[0][name]] for name in shared])
    alike = paragraph("The runs differ in nothing but their seed.")
    summary = f"{len(shared)} settings and versions that all runs share"
    return "\n".join(
        [
            table(differing, "What differs", words=True) if differing.rows else alike,
            folded(summary, table(common, "What is shared", words=True)),
            paragraph("A commit with + behind it had changed files.", "dim"),
            _signatures(groups, comparison.test_signatures),
        ]
    )


def _facts(run: FinishedRun) -> dict[str, str]:
    """Settings by dotted name, and what of the result tells how it came about, all as text."""
    settings: dict[str, Any] = {name: value for name, value in run.config.items() if name not in UNTOLD}
    data = {name: value for name, value in settings["data"].items() if name != "recipe"}  # told where it takes effect
    of_result = {name: run.result[name] for name in OF_RESULT if run.result.get(name) is not None}
    return {name: _text(value) for name, value in flat({**settings, "data": data, **of_result}).items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _said(facts: Sequence[dict[str, str]], name: str) -> str:
    """The values in the runs of a group, each once."""
    return " or ".join(dict.fromkeys(each.get(name, "–") for each in facts))


def _signatures(groups: Sequence[Group], of_tests: Sequence[str]) -> str:
    said = {"BLEU": groups[0].runs[0].result["test"]["bleu_signature"]}
    if chrf := groups[0].runs[0].result["test"].get("chrf_signature"):
        said["chrF"] = chrf
    said |= zip(("paired bootstrap", "paired approximate randomisation"), of_tests, strict=False)
    html = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(signature))}</dd>" for name, signature in said.items())
    return f"<h3>sacreBLEU's signatures</h3>\n<dl>{html}</dl>"
