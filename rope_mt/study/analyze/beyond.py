"""`rope-mt analyze lengths --forced`: loss by target position, and chrF, of several runs, with intervals and a plot."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.errors import UserError
from rope_mt.study.analyze.forced import PARTS, TIMES, Sums, forced
from rope_mt.study.compare.groups import choose_baseline, grouped
from rope_mt.study.compare.intervals import LEVEL, Interval, draw_resamples, intervals, variances_differ
from rope_mt.study.finished_runs import FinishedRun, refuse_other_test_sets, warnings_about
from rope_mt.system.files import write_json
from rope_mt.system.plots import figure
from rope_mt.translation.sentence_statistics import CHRF_AT, COLUMNS, chrf_of_sums

Arms = dict[str, list[Sums]]  # by label, of each seed


@dataclass(frozen=True)
class Measure:
    """Loss at target positions above `low` and up to `high` times the cap in texts of `times` the cap, or chrF."""

    times: int
    low: int = 0
    high: int = 0  # 0: chrF

    def name(self, cap: int) -> str:
        what = f"loss {self.low * cap + 1}-{self.high * cap}" if self.high else "chrF"
        return f"texts to {self.times * cap}\n{what}"

    def sums(self, of_run: Sums) -> Float[np.ndarray, "documents _"]:
        """What each document adds to `score`."""
        sums = {name: np.array(rows) for name, rows in of_run[str(self.times)].items()}
        if not self.high:
            return sums["chrf"]
        parts = slice(self.low * PARTS, self.high * PARTS)
        return np.stack([sums[name][:, parts].sum(axis=1) for name in ("nats", "tokens")], axis=1)

    def score(self, sums: Float[np.ndarray, "samples _"]) -> Float[np.ndarray, " samples"]:
        if self.high:
            return sums[:, 0] / np.maximum(sums[:, 1], 1)
        table = np.zeros((len(sums), len(COLUMNS)))
        table[:, CHRF_AT] = sums
        return chrf_of_sums(table)


LOSSES = [Measure(1, 0, 1), Measure(2, 1, 2), Measure(4, 0, 1), Measure(4, 1, 2), Measure(4, 2, 4)]
CHRF = [Measure(times) for times in TIMES]
WIDTH = 110  # of what is no terminal


@dataclass(frozen=True)
class Row:
    """The mean of an arm over its seeds, and its difference from the baseline if both have several."""

    values: list[float]  # of each seed
    mean: float
    difference: float
    interval: Interval | None


def compared(arms: Arms, baseline: str, measure: Measure, paired: bool) -> dict[str, Row]:
    """Every arm against one, over seeds and documents: the intervals of a measure hold together in 95 of 100 cases.

    Args:
        paired: the arms are the same models with other settings in tests. Their differences are not independent, and
            some scatter much more than others. So each has a variance of its own, and a higher level (Bonferroni).
    """
    documents = len(measure.sums(arms[baseline][0]))
    times = np.concatenate((np.ones((1, documents)), draw_resamples(range(documents))))  # all documents, and resamples
    scores = {
        label: np.stack([measure.score(times @ measure.sums(run)) for run in runs]) for label, runs in arms.items()
    }
    theirs = scores[baseline]
    many = [label for label in arms if label != baseline and min(len(scores[label]), len(theirs)) > 1]
    values: dict[str, list[float]] = {label: of_arm[:, 0].tolist() for label, of_arm in scores.items()}
    of_label: dict[str, Interval] = {}
    if paired:
        for label in many:
            differences = scores[label] - theirs
            level = 1 - (1 - LEVEL) / len(many)
            [of_label[label]] = intervals([differences[:, 0].tolist()], [], [differences[:, 1:]], level)
    elif many:
        sampled = [scores[label][:, 1:] for label in (*many, baseline)]
        found = intervals([values[label] for label in many], values[baseline], sampled)
        of_label = dict(zip(many, found, strict=True))
    means = {label: fmean(of_arm) for label, of_arm in values.items()}
    return {
        label: Row(values[label], mean, mean - means[baseline], of_label.get(label)) for label, mean in means.items()
    }


def analyze_forced(runs: list[FinishedRun], unfinished: list[Path], out: Path) -> None:
    """Print every arm against the baseline, and other settings in tests against their own arm; draw loss by position.

    Raises:
        UserError: the runs differ in test set or longest side in training, or as `forced` does.
    """
    refuse_other_test_sets(runs)
    caps = {run.config["data"]["max_len"] for run in runs}
    if len(caps) > 1:
        different = " and ".join(map(str, sorted(caps)))
        raise UserError(f"the runs differ in data.max_len: {different}; give each its own table")
    [cap] = caps
    groups, skipped = grouped(runs)
    baseline = choose_baseline(groups, None).label.replace("positions=", "")
    sums = {group.label.replace("positions=", ""): [forced(run) for run in group.runs] for group in groups}
    judged = {label: [of_run[""] for of_run in of_arm] for label, of_arm in sums.items()}
    families = [(baseline, judged)]
    for label, of_arm in sums.items():
        if names := [name for name in of_arm[0] if name]:
            others = {name: [of_run[name] for of_run in of_arm] for name in names}
            families.append((label, {label: judged[label], **others}))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(WIDTH, console.width)
    console.print(Text(f"trained on at most {cap} tokens a side", "dim"))
    console.print(Text("loss in nats per target token by target position, and chrF at the reference's length", "dim"))
    records, uneven = [], []
    for against, arms in families:
        several = len(arms[against]) > 1 and any(len(of_arm) > 1 for arm, of_arm in arms.items() if arm != against)
        within = "± its 95 % interval" if several else "without intervals, as one seed has none"
        console.print(Text(f"\nDifference from {against}, {within}", "bold"))
        for measures in (LOSSES, CHRF) if arms is judged else (LOSSES,):
            found = [compared(arms, against, measure, paired=arms is not judged) for measure in measures]
            console.print(table([measure.name(cap) for measure in measures], found, against))
            for measure, rows in zip(measures, found, strict=True):
                spread = [row.values for row in rows.values() if len(row.values) > 1]
                if arms is judged and several and variances_differ(spread) is not None:
                    uneven.append(" ".join(measure.name(cap).split()))
                for arm, row in rows.items():
                    verdict = row.interval and row.interval.verdict(lower_is_better=measure.high > 0)
                    of_row = {"against": against, "arm": arm, **asdict(row), "verdict": verdict}
                    records.append({**asdict(measure), **of_row})
    if uneven:
        scatter = f"warning: seeds of one arm scatter more than those of another in {', '.join(uneven)}"
        skipped.append(f"{scatter} (Bartlett's test, p < 0.05): the intervals are less sure")
    for line in [*skipped, *warnings_about(runs, unfinished)]:
        console.print(Text(line, "yellow"), soft_wrap=True)
    json, png = Path(f"{out}-forced.json"), Path(f"{out}-forced.png")
    write_json(json, {"trained_on": cap, "rows": records})
    plot(png, [judged, *(arms for _, arms in families[1:] if len(arms) > 2)], cap)
    console.print(Text(f"\nfiles     {json}, {png}"), soft_wrap=True)


def table(heads: Sequence[str], of_measures: list[dict[str, Row]], baseline: str) -> Table:
    """A row an arm; the last row says how large a true difference is found in 80 of 100 such comparisons."""
    out = Table(box=None, header_style="bold", pad_edge=False)
    out.add_column("", no_wrap=True)
    for head in heads:
        out.add_column(head, justify="right", no_wrap=True)
    for label in of_measures[0]:
        cells = []
        for rows in of_measures:
            row = rows[label]
            within = f" ±{row.interval.high - row.difference:.3f}" if row.interval else ""
            cells.append(f"{row.mean:.3f}" if label == baseline else f"{row.difference:+.3f}{within}")
        out.add_row(label, *cells)
    found = [[row.interval.detectable for row in rows.values() if row.interval] for rows in of_measures]
    if all(found):
        out.add_row("[dim]finds", *(f"[dim]{max(of_measure):.3f}" for of_measure in found))
    return out


def plot(path: Path, families: list[Arms], cap: int) -> None:
    """Mean loss over target position in the longest texts: a line an arm, and a panel for each family of arms."""
    with figure(path, width=1.0 + 5.0 * len(families), height=4.5) as drawn:
        for axes, arms in zip(drawn.subplots(1, len(families), sharey=True, squeeze=False)[0], families, strict=True):
            for label, runs in arms.items():
                longest = [of_run[str(TIMES[-1])] for of_run in runs]
                nats, tokens = (np.sum([sums[name] for sums in longest], axis=(0, 1)) for name in ("nats", "tokens"))
                there = tokens > 0
                at = (np.arange(len(tokens)) + 0.5) * cap / PARTS
                axes.plot(at[there], nats[there] / tokens[there], label=label)
            axes.axvline(cap, color="#555555", linestyle=(0, (6, 4)), linewidth=0.9)
            axes.set(xlabel="target position (dashed: longest side in training)", ylabel="nats per target token")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)  # below, where no curve is
