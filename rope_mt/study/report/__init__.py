"""A comparison as one HTML file that asks the network for nothing: `rope-mt compare RUN... --html FILE.html`."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from rope_mt import __version__
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.study.compare import tables
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.compare.tables import shown
from rope_mt.study.report import again, attention, configuration, curves, samples
from rope_mt.study.report.page import commands, folded, items, page, paragraph, section, table
from rope_mt.study.shared_test_set import texts
from rope_mt.system.files import write_whole

SECTIONS = {
    "scores": "Scores",
    "training": "Training",
    "lengths": "Length of the source",
    "further": "Further test sets",
    "distance": "Attention and distance",
    "translations": "Translations",
    "configuration": "Configuration",
    "again": "To make it again",
}
NO_BREAK = "\u00a0±\u00a0"  # which no line ends inside of


def write_report(path: Path, comparison: Comparison) -> None:
    """Write what `compare` found, the curves and translations of its runs, and how they were made.

    The runs' files are read again; a part for which they lack something says so.

    Raises:
        UserError: the folder cannot be written.
    """
    groups = comparison.groups
    try:
        src, ref = texts([run for group in groups for run in group.runs])
    except UserError as error:
        of_text = {"translations": items([f"No translations and no attention: {error}."], "cautions")}
    else:
        of_text = {"distance": attention.by_distance(groups, src, ref)}
        try:
            of_text["translations"] = samples.translations(groups, comparison.baseline, src, ref)
        except UserError as error:
            of_text["translations"] = items([f"No translations: {error}."], "cautions")
    bodies = {
        "scores": _scores(comparison),
        "training": _training(comparison),
        "lengths": _lengths(comparison),
        "further": _further(comparison),
        **of_text,
        "configuration": configuration.configuration(comparison),
        "again": _again(comparison, path),
    }
    there = {anchor: html for anchor, html in bodies.items() if html}
    links = " ".join(f'<a href="#{anchor}">{escape(SECTIONS[anchor])}</a>' for anchor in there)
    title = _title(comparison)
    parts = [
        f"<header>\n<h1>{escape(title)}</h1>",
        paragraph(_about(comparison), "dim"),
        _headline(comparison),
        f'<nav aria-label="Sections">{links}</nav>\n</header>\n<main>',
        *(section(anchor, SECTIONS[anchor], html) for anchor, html in there.items()),
        "</main>",
        f"<footer>{paragraph(f'rope-mt {__version__}', 'dim')}</footer>",
    ]
    write_whole(path, page(title, parts).encode(errors="replace"))  # a result may have half of a surrogate pair


def _title(comparison: Comparison) -> str:
    groups, baseline = comparison.groups, comparison.baseline
    others = [group.label for group in groups if group is not baseline]
    several = "settings" if len({group.runs[0].position for group in groups}) < len(groups) else "position schemes"
    named = _listed(others) if len(others) <= 3 else f"{len(others)} {several}"
    return named if baseline is None else f"{named} against {baseline.label}"


def _about(comparison: Comparison) -> str:
    """What was trained on and tested on."""
    runs = [run for group in comparison.groups for run in group.runs]
    data, model = ([*dict.fromkeys(str(run.config[part]["name"]) for run in runs)] for part in ("data", "model"))
    first = runs[0]
    sides = f"{first.config['data']['src_lang']} to {first.config['data']['tgt_lang']}"
    seeds = [*dict.fromkeys(run.seed for run in runs)]
    test = first.result.get("test_set")
    parts = [
        f"{sides}, data {_listed(data)}, model {_listed(model)}",
        f"{_counted(len(runs), 'run')} with seed {_listed([str(seed) for seed in sorted(seeds)])}",
        f"tested on {f'{test}, ' if test else ''}{comparison.sentences:,} sentences",
    ]
    return "; ".join(parts) + "."


def _headline(comparison: Comparison) -> str:
    """A sentence for each group on how it stands to the baseline."""
    baseline = comparison.baseline
    if baseline is None:
        said = (f"{group.label} has a test BLEU of {shown(group.spread('bleu'))}." for group in comparison.groups)
        return items(said, "results")
    verdicts = {"better": "is better than", "worse": "is worse than"}
    lines, below = [], []
    for group in comparison.groups:
        if group is not baseline:
            found = comparison.differences[group.label]
            scores = f"{shown(group.spread('bleu'))} against {shown(baseline.spread('bleu'))}"
            seeds = f"{_counted(len(group.runs), 'seed')} against {len(baseline.runs)}"
            if group.seeds != baseline.seeds:
                seeds += f", the difference that of {_counted(len(found.pairs), 'pair')}"
            lines.append(
                f'<li class="{found.verdict.split()[0]}">{escape(group.label)} '
                f"<strong>{verdicts.get(found.verdict, 'is within noise of')}</strong> {escape(baseline.label)}: "
                f"{found.together.delta:+.2f} test BLEU ({scores.replace(' ± ', NO_BREAK)}; {seeds}).</li>"
            )
    if any(found.welch is None for found in comparison.differences.values()):
        below.append(paragraph("With one seed on a side, whether other seeds agree is not measured.", "dim"))
    if comparison.cautions:
        there = _counted(len(comparison.cautions), "caution")
        below.append(f'<p>See <a href="#cautions">{there}</a> about these runs.</p>')
    return f'<ul class="results">{"".join(lines)}</ul>{"".join(below)}'


def _scores(comparison: Comparison) -> str:
    several = any(len(group.runs) > 1 for group in comparison.groups)
    tested = f"Test set, {comparison.sentences:,} sentences"
    return "\n".join(
        [
            table(tables.testing(comparison), tested),
            *(paragraph(line, "dim") for line in [comparison.signature, *tables.notes(comparison)]),
            f'<div id="cautions">{items(comparison.cautions, "cautions")}</div>',
            curves.scores(comparison),
            folded("Each run", table(tables.by_run(comparison.groups), "Run by run")) if several else "",
        ]
    )


def _training(comparison: Comparison) -> str:
    return table(tables.training(comparison), "At the end of training") + curves.training(comparison.groups)


def _lengths(comparison: Comparison) -> str:
    if not comparison.buckets:
        return ""
    title = "Difference in BLEU from the baseline, by source length in tokens"
    return table(tables.by_length(comparison), title) + curves.by_length(comparison)


def _further(comparison: Comparison) -> str:
    return table(tables.on_further_tests(comparison), "BLEU") if comparison.further else ""


def _again(comparison: Comparison, path: Path) -> str:
    trained, without = again.train_commands(comparison.groups)
    runs = (run for group in comparison.groups for run in group.runs)
    run = next((run for run in runs if RunFolder(run.folder).test_ref.is_file()), None)
    return "\n".join(
        [
            paragraph("These make the same runs, at the commit and with the versions above, and this report of them:"),
            commands([*trained, again.compare_command(comparison, path)]),
            items(without, "cautions"),
            *(
                [
                    paragraph(f"This prints the BLEU of {run.folder}, {run.figure('bleu'):.2f}:"),
                    commands([again.sacrebleu_command(run)]),
                ]
                if run is not None
                else [paragraph("The references are not beside these runs, so sacreBLEU's own command is not told.")]
            ),
        ]
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
