"""A comparison as tables to read, in a terminal of 100 columns or as GitHub's Markdown; and the notes below them."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.study.compare.comparison import BucketResult, Comparison, FurtherTest
from rope_mt.study.compare.groups import Group, Spread
from rope_mt.study.compare.significance import ALPHA, Difference

COLUMNS = 100  # of a terminal that the tables fit
SEEDS_UNKNOWN, SIGNIFICANT = "†", "*"  # marks
SEVERAL = "several"  # speeds that have no mean


@dataclass(frozen=True)
class Sheet:
    """A table whose cells are ready to print; its first column names the groups."""

    columns: list[str]
    rows: list[list[str]]

    def beside(self, other: "Sheet") -> "Sheet":
        """Both side by side, with the first column once."""
        rows = [[*ours, *theirs[1:]] for ours, theirs in zip(self.rows, other.rows, strict=True)]
        return Sheet([*self.columns, *other.columns[1:]], rows)

    def rich(self) -> Table:
        out = Table(box=None, header_style="bold", pad_edge=False)
        for i, column in enumerate(self.columns):
            words = i == 0 or column == "verdict"
            widest = max(len(row[i]) for row in self.rows)  # a narrow terminal breaks heads and long labels, no numbers
            out.add_column(column, justify="left" if words else "right", min_width=widest if i else min(widest, 20))
        for row in self.rows:
            out.add_row(*row)
        return out

    def markdown(self) -> str:
        lines = [self.columns, ["---", *["--:"] * (len(self.columns) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(map(str.strip, line))} |" for line in lines).replace(
            SIGNIFICANT, f"\\{SIGNIFICANT}"
        )


def shown(spread: Spread, digits: int = 2) -> str:
    """As in 84.65 ± 0.51."""
    return f"{spread.mean:.{digits}f}" + ("" if spread.sd is None else f" ± {spread.sd:.{digits}f}")


def _speed(group: Group) -> str:
    """The mean over seeds, where they ran on one kind of machine."""
    machines = {(run.result.get("device"), run.result["precision"]) for run in group.runs}
    return f"{group.spread('tokens_per_second').mean:,.0f}" if len(machines) == 1 else SEVERAL


CELLS: dict[str, Callable[[Group], str]] = {
    "seeds": lambda group: str(len(group.runs)),
    "seed": lambda group: str(group.runs[0].seed),
    "size": lambda group: f"{group.spread('parameters').mean / 1e6:.2f} M",
    "tokens seen": lambda group: f"{group.spread('tokens_seen').mean / 1e6:.2f} M",
    "valid loss": lambda group: shown(group.spread("valid_loss"), 3),
    "valid BLEU": lambda group: shown(group.spread("valid_bleu")),
    "BLEU": lambda group: shown(group.spread("bleu")),
    "chrF": lambda group: shown(group.spread("chrf")),
    "tokens/s": _speed,
}


def _sheet(groups: list[Group], *columns: str) -> Sheet:
    return Sheet(["scheme", *columns], [[group.label, *(CELLS[name](group) for name in columns)] for group in groups])


def by_run(groups: list[Group]) -> Sheet:
    """A row a run."""
    runs = [Group(group.label, [run]) for group in groups for run in group.runs]
    return _sheet(runs, "seed", "size", "tokens seen", "valid loss", "valid BLEU", "BLEU", "chrF", "tokens/s")


def by_run_on_further_tests(comparison: Comparison) -> Sheet:
    """A row a run: its BLEU on each further test set."""
    names = [test.name for test in comparison.further]
    rows = [
        [group.label, str(run.seed), *(f"{of['bleu']:.2f}" for name in names if (of := run.test(name)))]
        for group in comparison.groups
        for run in group.runs
    ]
    return Sheet(["BLEU", "seed", *names], rows)


def training(comparison: Comparison) -> Sheet:
    """A row a group: what was trained, and how far it came on the validation set."""
    found = _sheet(comparison.groups, "seeds", "size", "tokens seen", "valid loss", "valid BLEU", "tokens/s")
    if comparison.reached is None:
        return found
    rows = [[label, _reached(tokens)] for label, tokens in comparison.reached.items()]
    return found.beside(Sheet(["scheme", "to its loss"], rows))


def _reached(tokens: list[float | None]) -> str:
    """The mean over seeds in millions, or how many seeds did."""
    there = [seen for seen in tokens if seen is not None]
    if len(there) == len(tokens):
        return f"{fmean(there) / 1e6:.2f} M"
    return f"{len(there)} of {len(tokens)} seeds" if there else "not reached"


def testing(comparison: Comparison) -> Sheet:
    """A row a group: its test scores, and where there is a baseline what they are against it."""
    lengths = [[group.label, f"{comparison.lengths[group.label]:.3f}"] for group in comparison.groups]
    scores = _sheet(comparison.groups, "BLEU", "chrF").beside(Sheet(["scheme", "length"], lengths))
    found = comparison.differences
    if comparison.baseline is None:
        return scores
    with_welch = any(difference.welch is not None for difference in found.values())
    columns = ["scheme", "Δ BLEU", "p bs", "p ar", *(["p Welch"] if with_welch else []), "verdict"]
    rows = []
    for group in comparison.groups:
        difference = found.get(group.label)
        if difference is None:
            rows.append([group.label, *[""] * (len(columns) - 2), "baseline"])
            continue
        ps = [
            difference.together.bootstrap,
            difference.together.randomisation,
            *([difference.welch] if with_welch else []),
        ]
        verdict = difference.verdict + (SEEDS_UNKNOWN if difference.welch is None else "")
        rows.append([group.label, _signed(difference), *("" if p is None else f"{p:.4f}" for p in ps), verdict])
    return scores.beside(Sheet(columns, rows))


def by_length(comparison: Comparison) -> Sheet:
    """BLEU of the baseline in each bucket of source length, and the difference of each other group from it."""
    buckets, baseline = comparison.buckets, comparison.baseline
    assert baseline is not None
    others = [group.label for group in comparison.groups if group is not baseline]
    rows = [
        ["sentences", *(f"{bucket.sentences:,}" for bucket in buckets)],
        [
            f"{baseline.label} (BLEU)",
            *(f"{bucket.bleu[baseline.label].mean:.2f}" if bucket.sentences else "-" for bucket in buckets),
        ],
        *([label, *(_in_bucket(bucket, label) for bucket in buckets)] for label in others),
    ]
    return Sheet(["tokens", *(bucket.name for bucket in buckets)], rows)


def on_further_tests(comparison: Comparison) -> Sheet:
    """A row a group: its BLEU on each further test set."""
    further = comparison.further
    rows = [
        ["sentences", *(f"{test.sentences:,}" for test in further)],
        *([group.label, *(_on_test(test, group.label) for test in further)] for group in comparison.groups),
    ]
    return Sheet(["BLEU", *(test.name for test in further)], rows)


def _on_test(test: FurtherTest, label: str) -> str:
    different = label in test.differences and test.differences[label].significant
    return shown(test.bleu[label]) + (SIGNIFICANT if different else "")


def _in_bucket(bucket: BucketResult, label: str) -> str:
    if label not in bucket.differences:
        return "-"
    difference = bucket.differences[label]
    return _signed(difference) + (SIGNIFICANT if difference.significant else "")


def _signed(difference: Difference) -> str:
    return f"{difference.together.delta:+.2f}"


def notes(comparison: Comparison) -> list[str]:
    """What the columns and marks mean, a line each."""
    if comparison.baseline is None:
        return []
    baseline, found = comparison.baseline, comparison.differences.values()
    bootstrap, randomisation = (
        int(dict(part.split(":", 1) for part in signature.split("|"))[kind])
        for kind, signature in zip(("bs", "ar"), comparison.test_signatures, strict=True)
    )
    alike = all({*group.seeds} & {*baseline.seeds} for group in comparison.groups)
    said = (
        f"p bs, p ar: sacreBLEU's paired bootstrap ({bootstrap:,} resamples) and paired approximate randomisation "
        f"({randomisation:,} trials) on test BLEU against {baseline.label}, "
        f"run by run {'of the same seed' if alike else 'in order of seed, or of the same seed where some are common'}"
    )
    if any(len(difference.pairs) > 1 for difference in found):
        said += " (several pairs: of their mean difference, with one sample of sentences for all)"
    if any(difference.welch is not None for difference in found):
        said += "; p Welch: Welch's t-test over the seeds' BLEU"
    rule = f"every p < {ALPHA} and every pair of runs on that side, not corrected for the number of rows"
    lines = [
        f"{said}. better, worse: {rule}.",
        "length: words of the translations over words of the references; BLEU punishes what is too short.",
    ]
    if any(difference.welch is None for difference in found):
        lines.append(
            f"{SEEDS_UNKNOWN} one seed on a side or in both: noise between seeds is not measured; that takes several, "
            "seed=1,2,3."
        )
    parts = [*comparison.buckets, *comparison.further]
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
    """Print it: a table a run, or those of groups."""
    parts: list[Text | Table] = []
    if run_by_run:
        parts.append(by_run(comparison.groups).rich())
    else:
        title = Text(f"\ntest set, {comparison.sentences:,} sentences", "bold")
        parts += [training(comparison).rich(), title, testing(comparison).rich()]
    if comparison.buckets:
        parts += [Text("\nΔ BLEU by source length in tokens", "bold"), by_length(comparison).rich()]
    if comparison.further:
        sheet = by_run_on_further_tests(comparison) if run_by_run else on_further_tests(comparison)
        parts += [Text("\nfurther test sets", "bold"), sheet.rich()]
    parts.append(Text(f"\n{comparison.signature}", "dim"))
    wide = Console(width=max(COLUMNS, console.width), highlight=False)  # also in a pipe, where rich takes 80
    for part in parts:
        wide.print(part, crop=False)
    for line in notes(comparison):
        console.print(Text(line, "dim"))
    for line in comparison.cautions:
        console.print(Text(line, "yellow"), soft_wrap=True)


def as_markdown(comparison: Comparison) -> str:
    """The tables, the signature and the notes, to be pasted into a README."""
    parts = [training(comparison).beside(testing(comparison)).markdown()]
    if comparison.buckets:
        parts += ["Δ BLEU by source length in tokens:", by_length(comparison).markdown()]
    if comparison.further:
        parts += ["Further test sets:", on_further_tests(comparison).markdown()]
    parts.append(f"sacreBLEU `{comparison.signature}`, {comparison.sentences:,} sentences")
    parts += [line.replace(SIGNIFICANT, f"\\{SIGNIFICANT}") for line in [*notes(comparison), *comparison.cautions]]
    return "\n\n".join(parts)
