"""A comparison as tables to read, in a terminal of 100 columns or as GitHub's Markdown; and the notes below them."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.study.compare.comparison import Comparison, Part
from rope_mt.study.compare.groups import Group
from rope_mt.study.compare.significance import ALPHA, Difference

COLUMNS = 100  # of a terminal that the tables fit
SEEDS_UNKNOWN, SIGNIFICANT = "†", "*"  # marks
SEVERAL = "several"  # speeds that have no mean


@dataclass(frozen=True)
class Sheet:
    """A table whose cells are ready to print; its first column names the rows."""

    columns: list[str]
    rows: list[list[str]]

    def beside(self, columns: list[str], cells: list[list[str]]) -> "Sheet":
        """The same with more columns at the right."""
        rows = [[*row, *more] for row, more in zip(self.rows, cells, strict=True)]
        return Sheet([*self.columns, *columns], rows)

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
        return _escaped("\n".join(f"| {' | '.join(map(str.strip, line))} |" for line in lines))


def _escaped(markdown: str) -> str:
    return markdown.replace(SIGNIFICANT, f"\\{SIGNIFICANT}")


def _speed(group: Group) -> str:
    """The mean over seeds, where they ran on one kind of machine."""
    machines = {(run.result.get("device"), run.result["precision"]) for run in group.runs}
    return f"{group.spread('tokens_per_second').mean:,.0f}" if len(machines) == 1 else SEVERAL


CELLS: dict[str, Callable[[Group], str]] = {
    "seeds": lambda group: str(len(group.runs)),
    "seed": lambda group: str(group.runs[0].seed),
    "size": lambda group: f"{group.spread('parameters').mean / 1e6:.2f} M",
    "tokens seen": lambda group: f"{group.spread('tokens_seen').mean / 1e6:.2f} M",
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
    return _sheet(runs, "seed", "size", "tokens seen", "valid loss", "valid BLEU", "BLEU", "chrF", "tokens/s")


def training(comparison: Comparison) -> Sheet:
    """A row a group: what was trained, and how far it came on the validation set."""
    sheet = _sheet(comparison.groups, "seeds", "size", "tokens seen", "valid loss", "valid BLEU", "tokens/s")
    if comparison.reached is None:
        return sheet
    return sheet.beside(["to its loss"], [[_reached(tokens)] for tokens in comparison.reached.values()])


def _reached(tokens: list[float | None]) -> str:
    """The mean over seeds in millions, or how many seeds reached the loss."""
    known = [seen for seen in tokens if seen is not None]
    if len(known) == len(tokens):
        return f"{fmean(known) / 1e6:.2f} M"
    return f"{len(known)} of {len(tokens)} seeds" if known else "not reached"


def testing(comparison: Comparison) -> Sheet:
    """A row a group: its test scores, and where there is a baseline the difference from it."""
    groups, differences = comparison.groups, comparison.test.differences
    sheet = _sheet(groups, "BLEU", "chrF")
    sheet = sheet.beside(["length"], [[f"{comparison.lengths[group.label]:.3f}"] for group in groups])
    if comparison.baseline is None:
        return sheet
    with_welch = any(difference.welch is not None for difference in differences.values())
    columns = ["Δ BLEU", "p bs", "p ar", *(["p Welch"] if with_welch else []), "verdict"]
    cells = []
    for group in groups:
        if group is comparison.baseline:
            cells.append([*[""] * (len(columns) - 1), "baseline"])
            continue
        difference = differences[group.label]
        ps = [difference.together.bootstrap, difference.together.randomisation, difference.welch]
        texts = ["" if p is None else f"{p:.4f}" for p in ps[: len(columns) - 2]]
        verdict = difference.verdict + (SEEDS_UNKNOWN if difference.welch is None else "")
        cells.append([_signed(difference), *texts, verdict])
    return sheet.beside(columns, cells)


def by_length(comparison: Comparison) -> Sheet:
    """BLEU of the baseline in each bucket of source length, and the difference of each other group from it."""
    buckets, baseline = comparison.buckets, comparison.baseline
    assert baseline is not None
    scores = [f"{bucket.bleu[baseline.label].mean:.2f}" if bucket.sentences else "-" for bucket in buckets]
    rows = [["sentences", *_sentences(buckets)], [f"{baseline.label} (BLEU)", *scores]]
    for group in comparison.groups:
        if group is not baseline:
            cells = []
            for bucket in buckets:
                difference = bucket.differences.get(group.label)
                cells.append("-" if difference is None else _signed(difference) + _mark(bucket, group))
            rows.append([group.label, *cells])
    return Sheet(["tokens", *(bucket.name for bucket in buckets)], rows)


def on_additional_tests(comparison: Comparison) -> Sheet:
    """A row a group: its BLEU on each additional test set."""
    tests = comparison.additional
    rows = [["sentences", *_sentences(tests)]]
    for group in comparison.groups:
        rows.append([group.label, *(test.bleu[group.label].text() + _mark(test, group) for test in tests)])
    return Sheet(["BLEU", *(test.name for test in tests)], rows)


def _by_run_on_additional_tests(comparison: Comparison) -> Sheet:
    names = [test.name for test in comparison.additional]
    rows = []
    for group in comparison.groups:
        for run in group.runs:
            scores = [run.scores(name) for name in names]
            rows.append([group.label, str(run.seed), *(f"{score['bleu']:.2f}" for score in scores if score)])
    return Sheet(["BLEU", "seed", *names], rows)


def _sentences(parts: list[Part]) -> list[str]:
    return [f"{part.sentences:,}" for part in parts]


def _mark(part: Part, group: Group) -> str:
    difference = part.differences.get(group.label)
    return SIGNIFICANT if difference and difference.significant else ""


def _signed(difference: Difference) -> str:
    return f"{difference.together.delta:+.2f}"


def notes(comparison: Comparison) -> list[str]:
    """The meaning of columns and marks, a line each."""
    baseline, differences = comparison.baseline, comparison.test.differences.values()
    if baseline is None:
        return []
    bootstrap, randomisation = (
        int(dict(part.split(":", 1) for part in signature.split("|"))[kind])
        for kind, signature in zip(("bs", "ar"), comparison.test_signatures, strict=True)
    )
    alike = all({*group.seeds} & {*baseline.seeds} for group in comparison.groups)
    tests = (
        f"p bs, p ar: sacreBLEU's paired bootstrap ({bootstrap:,} resamples) and paired approximate randomisation "
        f"({randomisation:,} trials) on test BLEU against {baseline.label}, "
        f"run by run {'of the same seed' if alike else 'in order of seed, or of the same seed where some are common'}"
    )
    if any(len(difference.pairs) > 1 for difference in differences):
        tests += " (several pairs: of their mean difference, with one sample of sentences for all)"
    if any(difference.welch is not None for difference in differences):
        tests += "; p Welch: Welch's t-test over the seeds' BLEU"
    rule = f"every p < {ALPHA} and every pair of runs on that side, not corrected for the number of rows"
    lines = [
        f"{tests}. better, worse: {rule}.",
        "length: words of the translations over words of the references; BLEU punishes what is too short.",
    ]
    if any(difference.welch is None for difference in differences):
        lines.append(
            f"{SEEDS_UNKNOWN} one seed on a side or in both: noise between seeds is not measured; that takes several, "
            "seed=1,2,3."
        )
    parts = [*comparison.buckets, *comparison.additional]
    if any(difference.significant for part in parts for difference in part.differences.values()):
        lines.append(f"{SIGNIFICANT} better or worse by the same rule on the sentences of the column alone.")
    if comparison.reached:
        lines.append(
            f"to its loss: target tokens until the validation loss was down to the last one of {baseline.label}, "
            "run by run as above, mean over seeds."
        )
    if any(_speed(group) == SEVERAL for group in comparison.groups):
        lines.append(f"tokens/s: {SEVERAL}, where the runs of a row are of several machines or precisions.")
    return lines


def show(comparison: Comparison, run_by_run: bool, console: Console) -> None:
    """Print it: a table with a row a run, or tables with a row a group."""
    parts: list[Text | Table] = []
    if run_by_run:
        parts.append(by_run(comparison).rich())
    else:
        title = Text(f"\ntest set, {comparison.test.sentences:,} sentences", "bold")
        parts += [training(comparison).rich(), title, testing(comparison).rich()]
    if comparison.buckets:
        parts += [Text("\nΔ BLEU by source length in tokens", "bold"), by_length(comparison).rich()]
    if comparison.additional:
        sheet = _by_run_on_additional_tests(comparison) if run_by_run else on_additional_tests(comparison)
        parts += [Text("\nfurther test sets", "bold"), sheet.rich()]
    parts.append(Text(f"\n{comparison.signature}", "dim"))
    wide = Console(width=max(COLUMNS, console.width), highlight=False)  # also in a pipe, where rich takes 80
    for part in parts:
        wide.print(part, crop=False)
    for line in notes(comparison):
        console.print(Text(line, "dim"))
    for line in comparison.warnings:
        console.print(Text(line, "yellow"), soft_wrap=True)


def as_markdown(comparison: Comparison) -> str:
    """The tables, the signature and the notes, to be pasted into a README."""
    tested = testing(comparison)
    whole = training(comparison).beside(tested.columns[1:], [row[1:] for row in tested.rows])
    parts = [whole.markdown()]
    if comparison.buckets:
        parts += ["Δ BLEU by source length in tokens:", by_length(comparison).markdown()]
    if comparison.additional:
        parts += ["Further test sets:", on_additional_tests(comparison).markdown()]
    parts.append(f"sacreBLEU `{comparison.signature}`, {comparison.test.sentences:,} sentences")
    parts += [_escaped(line) for line in [*notes(comparison), *comparison.warnings]]
    return "\n\n".join(parts)
