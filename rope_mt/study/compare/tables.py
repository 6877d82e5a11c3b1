"""A comparison as tables to read, in a terminal of 80 columns or as GitHub's Markdown; and the notes below them."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.study.compare.comparison import Comparison, Measure
from rope_mt.study.compare.groups import Group
from rope_mt.study.compare.intervals import POWER, RESAMPLES

COLUMNS = 100  # of what is no terminal
TITLES = {
    "loss": "Loss in nats per target token (less is better)",
    "valid_loss": "Loss on the validation set in nats per target token (less is better)",
    "chrf": "chrF (more is better)",
    "bleu": "BLEU (more is better)",
}
SEVERAL = "several"  # speeds that have no mean


@dataclass(frozen=True)
class Sheet:
    """A table whose cells are ready to print; its first column names the rows."""

    columns: list[str]
    rows: list[list[str]]

    def rich(self) -> Table:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for i, column in enumerate(self.columns):
            words = i == 0 or column == "verdict"
            widest = max(len(row[i]) for row in self.rows)  # a narrow terminal breaks heads and long labels, no numbers
            table.add_column(column, justify="left" if words else "right", min_width=widest if i else min(widest, 20))
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        lines = [self.columns, ["---", *["--:"] * (len(self.columns) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(map(str.strip, line))} |" for line in lines)


def _speed(group: Group) -> str:
    """The mean over seeds, where they ran on one kind of machine."""
    machines = {(run.result.get("device"), run.result["precision"]) for run in group.runs}
    return f"{group.spread('tokens_per_second').mean:,.0f}" if len(machines) == 1 else SEVERAL


CELLS: dict[str, Callable[[Group], str]] = {
    "seeds": lambda group: str(len(group.runs)),
    "seed": lambda group: str(group.runs[0].seed),
    "size": lambda group: f"{group.spread('parameters').mean / 1e6:.2f} M",
    "tokens": lambda group: f"{group.spread('tokens_seen').mean / 1e6:.2f} M",
    "valid loss": lambda group: group.spread("valid_loss").text(3),
    "valid BLEU": lambda group: group.spread("valid_bleu").text(),
    "BLEU": lambda group: group.spread("bleu").text(),
    "chrF": lambda group: group.spread("chrf").text(),
    "tokens/s": _speed,
}


def _sheet(groups: list[Group], *columns: str) -> Sheet:
    return Sheet(["scheme", *columns], [[group.label, *(CELLS[name](group) for name in columns)] for group in groups])


def by_run(comparison: Comparison) -> Sheet:
    """A row a run."""
    runs = [Group(group.label, [run]) for group in comparison.groups for run in group.runs]
    return _sheet(runs, "seed", "size", "tokens", "valid loss", "valid BLEU", "BLEU", "chrF", "tokens/s")


def training(comparison: Comparison) -> Sheet:
    """A row a group: what was trained, and how far it came on the validation set."""
    sheet = _sheet(comparison.groups, "seeds", "size", "tokens", "valid loss", "valid BLEU", "tokens/s")
    if comparison.reached is not None:
        sheet.columns.append("to its loss")
        for group, row in zip(comparison.groups, sheet.rows, strict=True):
            row.append(_reached(comparison.reached[group.label]) if group is not comparison.baseline else "baseline")
    return sheet


def _reached(tokens: list[float | None]) -> str:
    """The mean over seeds in millions, or how many seeds reached the loss."""
    known = [seen for seen in tokens if seen is not None]
    if len(known) == len(tokens):
        return f"{fmean(known) / 1e6:.2f} M"
    return f"{len(known)} of {len(tokens)} seeds" if known else "not reached"


def difference(measure: Measure, label: str) -> list[str]:
    """Difference from the baseline, its interval, and the smallest difference that such a comparison finds."""
    interval, digits = measure.intervals.get(label), 3 if measure.is_loss else 2
    if interval is None:
        return ["", "", ""]
    ends = " to ".join(f"{end:+.{digits}f}" for end in (interval.low, interval.high))
    return [f"{interval.difference:+.{digits}f}", ends, f"{interval.detectable:.{digits}f}"]


def verdicts(comparison: Comparison, measure: Measure) -> Sheet:
    """A row a group: its mean, the difference from the baseline with its interval, and the verdict."""
    rows = []
    for group in comparison.groups:
        mean = f"{fmean(measure.values[group.label]):.{3 if measure.is_loss else 2}f}"
        gap, ends, finds = difference(measure, group.label)
        row = [group.label, mean, gap, ends, measure.verdicts[group.label], finds]
        if not measure.is_loss:
            agreement = measure.agreement(group.label)
            row.append("" if agreement is None else f"{agreement:.0f} %")
        rows.append(row)
    columns = ["scheme", "mean", "difference", "95 % interval", "verdict", "finds"]
    return Sheet(columns if measure.is_loss else [*columns, "people"], rows)


def by_length(comparison: Comparison) -> Sheet:
    """BLEU of the baseline in each bucket of source length, and the difference of each other group from it."""
    buckets, baseline = comparison.buckets, comparison.baseline
    assert baseline is not None
    rows = [["sentences", *(f"{bucket.sentences:,}" for bucket in buckets)]]
    for group in [baseline, *(group for group in comparison.groups if group is not baseline)]:
        cells = []
        for bucket in buckets:
            ours, theirs = (bucket.bleu[each.label].mean if bucket.sentences else 0 for each in (group, baseline))
            score = f"{ours:.2f}" if group is baseline else f"{ours - theirs:+.2f}"
            cells.append(score if bucket.sentences else "-")
        rows.append([f"{group.label} (BLEU)" if group is baseline else group.label, *cells])
    return Sheet(["tokens", *(bucket.name for bucket in buckets)], rows)


def on_each_test(comparison: Comparison) -> Sheet:
    """A row a group: its BLEU on each test set, chrF on the first, and the length of its translations."""
    tests = comparison.tests
    rows = [["sentences", *(f"{test.sentences:,}" for test in tests), "", ""]]
    for group in comparison.groups:
        scores = [test.bleu[group.label].text() for test in tests]
        rows.append([group.label, *scores, group.spread("chrf").text(), f"{comparison.lengths[group.label]:.3f}"])
    of_test = [f"{tests[0].name} {name}" if len(tests) > 1 else name for name in ("chrF", "length")]
    return Sheet(["BLEU", *(test.name for test in tests), *of_test], rows)


def by_run_on_additional_tests(comparison: Comparison) -> Sheet:
    """A row a run: its BLEU on each additional test set."""
    names = [test.name for test in comparison.tests[1:]]
    rows = []
    for group in comparison.groups:
        for run in group.runs:
            scores = [run.scores[name] for name in names]
            rows.append([group.label, str(run.seed), *(f"{score['bleu']:.2f}" for score in scores if score)])
    return Sheet(["BLEU", "seed", *names], rows)


def title(comparison: Comparison) -> str:
    """What is compared, and on what."""
    assert comparison.baseline is not None
    sentences, documents = comparison.units
    where = f"{sentences:,} sentences" + (f" of {documents:,} documents" if documents < sentences else "")
    return f"Against {comparison.baseline.label}, on {where} ({' and '.join(comparison.judged)})"


def notes(comparison: Comparison) -> list[str]:
    """How to read the tables of scores, a line each."""
    lines = ["length: words of the translations over words of the references; BLEU punishes what is too short."]
    if comparison.baseline is None:
        return lines
    measures = comparison.measures
    if any(measure.intervals for measure in measures):
        unit = "documents" if comparison.units[1] < comparison.units[0] else "sentences"
        lines += [
            "verdict: better or worse where the whole 95 % interval is on one side of 0. Not told apart does not mean "
            "equal: the true difference may be anywhere in the interval.",
            "95 % interval: what other seeds and sentences would give. All rows of a table hold together in 95 of "
            f"100 such comparisons (Dunnett; variance of seeds pooled, {RESAMPLES:,} resamples of {unit}).",
            f"finds: the smallest true difference that {100 * POWER:.0f} of 100 such comparisons tell apart.",
            "people: how often human judges agree that the higher score is the better system, where 50 % is chance "
            "(Kocmi et al. 2024, fitted on WMT's systems, mostly news; a rough guide for other text).",
        ]
    if measures[0].name == "valid_loss":
        lines.append(
            "The loss of the test set is missing from these records. The validation loss stands in its place, and its "
            "interval is over seeds alone."
        )
    reasons = {verdict.removeprefix("baseline: ") for measure in measures for verdict in measure.verdicts.values()}
    if "one seed" in reasons:
        lines.append("one seed: no verdict, as other seeds may say something else: train with seed=1,2,3.")
    if "untrained" in reasons:
        lines.append("untrained: a run is below BLEU 5, so it has not learned to translate, and there is no verdict.")
    if "diverged" in reasons:
        lines.append("diverged: the loss of a run is not finite, so there is no verdict.")
    if comparison.paired:
        ps = ", ".join(f"{name} p = {p:.4f}" for name, p in comparison.paired.items())
        lines.append(f"BLEU of these two runs, would other sentences say the same? sacreBLEU's paired {ps}.")
    return lines


def notes_on_training(comparison: Comparison) -> list[str]:
    """How to read the table of training, a line each."""
    lines = []
    if comparison.reached:
        assert comparison.baseline is not None
        lines.append(
            "to its loss: target tokens until the validation loss was down to the last one of "
            f"{comparison.baseline.label}, means over seeds."
        )
    if any(_speed(group) == SEVERAL for group in comparison.groups):
        lines.append(f"tokens/s: {SEVERAL}, where the runs of a row are of several machines or precisions.")
    return lines


def sheets(comparison: Comparison, run_by_run: bool = False) -> list[tuple[str, Sheet]]:
    """All tables with their titles: verdicts first."""
    parts = []
    if comparison.baseline is not None:
        others = [group.label for group in comparison.groups if group is not comparison.baseline]
        says = Sheet(["scheme", "verdict"], [[label, comparison.says(label)] for label in others])
        parts = [(title(comparison), says)]
        parts += [(TITLES[each.name], verdicts(comparison, each)) for each in comparison.measures]
    if run_by_run:
        parts.append(("Each run", by_run(comparison)))
        if len(comparison.tests) > 1:
            parts.append(("Additional test sets", by_run_on_additional_tests(comparison)))
    else:
        parts += [("Each test set, mean ± sd over seeds", on_each_test(comparison)), ("Training", training(comparison))]
    if comparison.buckets:
        parts.append(("Difference in BLEU by source length in tokens", by_length(comparison)))
    return parts


def show(comparison: Comparison, console: Console, run_by_run: bool = False) -> None:
    """Print it: tables with a row a group, or for a single run or `run_by_run` a table with a row a run."""
    width = console.width if console.is_terminal else max(COLUMNS, console.width)
    wide = Console(width=width, highlight=False)
    for number, (heading, sheet) in enumerate(sheets(comparison, run_by_run or len(comparison.runs) == 1)):
        wide.print(Text("\n" * bool(number) + heading, "bold"))
        wide.print(sheet.rich(), crop=False)
    console.print(Text(f"\n{comparison.signature}", "dim"), soft_wrap=True)
    for line in [*notes(comparison), *notes_on_training(comparison)]:
        console.print(Text(line, "dim"))
    for line in comparison.warnings:
        console.print(Text(line, "yellow"), soft_wrap=True)


def as_markdown(comparison: Comparison) -> str:
    """The tables, the signature and the notes, to be pasted into a README."""
    parts = []
    for heading, sheet in sheets(comparison):
        parts += [f"{heading}:", sheet.markdown()]
    parts.append(f"sacreBLEU `{comparison.signature}`")
    return "\n\n".join([*parts, *notes(comparison), *notes_on_training(comparison), *comparison.warnings])
