"""A comparison as one HTML file that asks the network for nothing: `rope-mt compare RUN... --html FILE.html`."""

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from rope_mt.runs.folder import RunFolder
from rope_mt.study.compare import tables
from rope_mt.study.compare.comparison import TITLES as NAMES
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.compare.groups import choose_baseline
from rope_mt.study.report import charts, samples
from rope_mt.study.report.configuration import configuration
from rope_mt.study.report.page import commands, folded, items, page, paragraph, table
from rope_mt.system.files import write_whole


def write_report(path: Path, comparison: Comparison) -> None:
    """Write the tables of a comparison, the curves and translations of its runs, and how they were made.

    The runs' files are read again; where they lack something, a line says so in its place.

    Raises:
        UserError: the folder cannot be written.
    """
    trained = [table(tables.training(comparison), "At the end of training")]
    trained += [paragraph(line, "dim") for line in tables.notes_on_training(comparison)]
    lengths = "Difference in BLEU by source length in tokens"
    sections = {
        "Scores": _scores(comparison),
        "Training": "\n".join([*trained, charts.training(comparison)]),
        "Length of the source": table(tables.by_length(comparison), lengths) if comparison.buckets else "",
        "Translations": samples.translations(comparison),
        "Configuration": configuration(comparison),
        "To make it again": _again(comparison, path),
    }
    html = page(_title(comparison), [paragraph(_about(comparison), "dim"), _headline(comparison)], sections)
    write_whole(path, html)


def _title(comparison: Comparison) -> str:
    groups, baseline = comparison.groups, comparison.baseline
    others = [group.label for group in groups if group is not baseline]
    several = "settings" if len({group.runs[0].position for group in groups}) < len(groups) else "position schemes"
    named = _listed(others) if len(others) <= 3 else f"{len(others)} {several}"
    return named if baseline is None else f"{named} against {baseline.label}"


def _about(comparison: Comparison) -> str:
    """The text that was trained on and tested on, the models and the seeds."""
    runs = comparison.runs
    data, model = (
        _listed([*dict.fromkeys(str(run.config[part]["name"]) for run in runs)]) for part in ("data", "model")
    )
    config, test_set = runs[0].config["data"], runs[0].result.get("test_set")
    seeds = _listed([str(seed) for seed in sorted({run.seed for run in runs})])
    tested = f"{f'{test_set}, ' if test_set else ''}{comparison.tests[0].sentences:,} sentences"
    languages = f"{config['src_lang']} to {config['tgt_lang']}, data {data}, model {model}"
    return f"{languages}; {_counted(len(runs), 'run')} with seed {seeds}; tested on {tested}."


def _headline(comparison: Comparison) -> str:
    """A sentence for each group on its difference from the baseline."""
    baseline, html = comparison.baseline, []
    if baseline is None:
        scores = [f"{group.label} has a test BLEU of {group.spread('bleu').text()}." for group in comparison.groups]
        return items(scores, "results")
    for group in comparison.groups:
        if group is not baseline:
            first, gaps = comparison.measures[0].verdicts[group.label], []
            for measure in comparison.measures:
                if group.label in measure.intervals:
                    gap, ends, _ = tables.difference(measure, group.label)
                    gaps.append(f"{NAMES[measure.name]} {gap} ({ends})")
            html.append(
                f'<li class="{first.split()[0]}">{escape(group.label)}: <strong>'
                f"{escape(comparison.says(group.label))}</strong>. {escape('; '.join(gaps))}</li>"
            )
    about = f"{tables.title(comparison)}: difference, and in brackets its 95 % interval."
    html = [paragraph(about), f'<ul class="results">{"".join(html)}</ul>']
    if comparison.warnings:
        amount = _counted(len(comparison.warnings), "warning")
        html.append(f'<p>See <a href="#warnings">{amount}</a> about these runs.</p>')
    return "".join(html)


def _scores(comparison: Comparison) -> str:
    parts = [table(tables.verdicts(comparison, each), tables.TITLES[each.name]) for each in comparison.measures]
    parts.append(table(tables.on_each_test(comparison), "Each test set, mean ± sd over seeds"))
    parts += [paragraph(line, "dim") for line in [comparison.signature, *tables.notes(comparison)]]
    parts.append(f'<div id="warnings">{items(comparison.warnings, "warnings")}</div>')
    parts.append(charts.scores(comparison))
    if any(len(group.runs) > 1 for group in comparison.groups):
        parts.append(folded("Each run", table(tables.by_run(comparison), "Run by run")))
    return "\n".join(parts)


def _again(comparison: Comparison, path: Path) -> str:
    """The commands that made the runs, as they were typed; the comparison; and sacreBLEU's own for a score."""
    runs = comparison.runs
    typed = [run.result["command"] for run in runs if run.result.get("command")]
    unknown = [str(run.folder) for run in runs if not run.result.get("command")]
    parts = [
        paragraph("These made the runs, at the commit and with the versions above, and this report of them:"),
        commands([*dict.fromkeys(typed), _compare_command(comparison, path)]),
        items([f"No command is recorded for {_listed(unknown)}."] if unknown else [], "warnings"),
    ]
    run = next((run for run in runs if RunFolder(run.folder).test_ref.is_file()), None)
    if run is None:
        parts.append(paragraph("The references are not beside these runs, so sacreBLEU's own command is not given."))
    else:
        parts.append(paragraph(f"This prints the BLEU of {run.folder}, {run.figure('bleu'):.2f}:"))
        files = RunFolder(run.folder)
        words = ["sacrebleu", str(files.test_ref), "-i", str(files.test_hyp), "-m", "bleu", "chrf"]
        parts.append(commands([shlex.join(words)]))
    return "\n".join(parts)


def _compare_command(comparison: Comparison, path: Path) -> str:
    groups, baseline = comparison.groups, comparison.baseline
    flags = []
    if baseline is None and len(groups) > 1:
        flags.append("--runs")
    elif baseline is not None and baseline is not choose_baseline(groups, None):
        flags += ["--baseline", baseline.label]
    if bounds := [str(bucket.high) for bucket in comparison.buckets[:-1]]:
        flags += ["--buckets", ",".join(bounds)]
    folders = [shlex.quote(str(run.folder)) for run in comparison.runs]
    return " \\\n  ".join(["rope-mt compare", *folders, shlex.join([*flags, "--html", str(path)])])


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
