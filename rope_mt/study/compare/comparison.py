"""Groups of runs against a baseline: all that the tables and the report show."""

import math
import re
from dataclasses import dataclass, field
from pathlib import PurePath
from statistics import fmean

import numpy as np

from rope_mt.config.data import JOINED, OF_FURTHER_TESTS
from rope_mt.errors import UserError
from rope_mt.study.compare.buckets import bucket_name, default_bounds, in_buckets
from rope_mt.study.compare.groups import Group, Spread
from rope_mt.study.compare.intervals import Interval, draw_resamples, intervals, variances_differ
from rope_mt.study.compare.paired import paired_tests
from rope_mt.study.run_files import loss_curve, statistics
from rope_mt.translation.sentence_statistics import COLUMNS, SCORES, SentenceStatistics, Sums

Statistics = dict[tuple[str, int], SentenceStatistics]  # of each run, by the label of its group and its seed
TITLES = {"loss": "loss", "valid_loss": "validation loss", "chrf": "chrF", "bleu": "BLEU"}
LENGTH = 0.01  # a ratio of lengths that moves BLEU by a quarter of a point
UNTRAINED = 5.0  # a run below this BLEU has not learned to translate


@dataclass
class Part:
    """A test set, or its sentences in one bucket of source length, and the BLEU of the groups on it."""

    name: str
    numbers: list[int]  # of the sentences, from 0
    low: int = 0  # tokens of the shortest and the longest source in a bucket, without the end of the sentence
    high: int | None = None  # None: there is no longest
    bleu: dict[str, Spread] = field(default_factory=dict)  # by label; empty without a sentence


@dataclass
class Measure:
    """Loss, chrF or BLEU of all groups on the test sets of one domain together."""

    name: str  # one of the SCORES, or valid_loss where the loss of the test sets is missing
    values: dict[str, list[float]]  # by label, of each seed
    intervals: dict[str, Interval]  # by label, of the groups that have a verdict
    verdicts: dict[str, str]  # by label, without the baseline's

    @property
    def is_loss(self) -> bool:
        return self.name.endswith("loss")

    def agreement(self, label: str) -> float | None:
        """How many of 100 human judgements of WMT's systems agree with such a difference (Kocmi et al. 2024)."""
        if self.is_loss or label not in self.intervals:
            return None
        most, slope = {"bleu": (88.333, 0.96639), "chrf": (93.0, 1.11427)}[self.name]
        # the curve is a little below chance at 0
        return max(50.0, most / (1 + math.exp(-slope * abs(self.intervals[label].difference))))


@dataclass
class Comparison:
    groups: list[Group]
    baseline: Group | None  # None: nothing is compared
    test: Part
    lengths: dict[str, float]  # by label: words of the translations over words of the references, mean over seeds
    additional: list[Part]  # additional test sets
    warnings: list[str]
    judged: list[str]  # the test sets that the measures are of, as they are of one domain
    units: tuple[int, int] = (0, 0)  # sentences of those, and documents
    judged_lengths: dict[str, float] = field(default_factory=dict)  # as `lengths`, on those
    measures: list[Measure] = field(default_factory=list)
    paired: dict[str, float] | None = None  # p of sacreBLEU's paired tests, where one run is compared with one other
    buckets: list[Part] = field(default_factory=list)  # parts of the test set
    # By label, for each run: after how many target tokens its validation loss was down to the mean of the baseline's
    # last ones; None: never. None instead of all: no baseline, or a run without a curve.
    reached: dict[str, list[float | None]] | None = None

    def says(self, label: str) -> str:
        """The verdict by loss, and after it those of the other measures that are not the same."""
        first, *others = self.measures
        verdict = first.verdicts[label]
        unlike = [(each, each.verdicts[label]) for each in others if each.verdicts[label] != verdict]
        if not unlike:
            return verdict
        text = ", ".join(f"{TITLES[each.name]} {found}" for each, found in unlike)
        assert self.baseline is not None
        longer = self.judged_lengths[label] / self.judged_lengths[self.baseline.label] - 1
        length = f"; its translations are {abs(longer):.1%} {'longer' if longer > 0 else 'shorter'}"
        length = length.replace("%", " %") if abs(longer) >= LENGTH else ""
        return f"{verdict} by {TITLES[first.name]}, but {text}{length}"

    @property
    def signature(self) -> str:
        return self.groups[0].runs[0].result["test"]["bleu_signature"]


def compare_groups(groups: list[Group], baseline: Group | None, bounds: list[int] | None) -> Comparison:
    """Compare every group with the baseline, on the test sets of one domain together, and in each bucket.

    Args:
        bounds: of the buckets, in tokens of the baseline's tokenizer; None: `default_bounds`.

    Raises:
        UserError: the sufficient statistics of a run's score are missing or damaged.
    """
    runs = [run for group in groups for run in group.runs]
    shared, not_shared = _additional_tests(groups)
    of_tests = {name: _statistics(groups, name) for name in ("test", *shared)}
    of_runs = of_tests["test"]
    lengths = _lengths(groups, of_runs)
    warnings = [f"not all runs have a score on the same {name}, which is skipped" for name in not_shared]
    test, *additional = (_scored(Part(name, []), groups, of_test) for name, of_test in of_tests.items())
    judged = _of_one_domain(runs[0].config["data"], shared) if baseline else ["test"]
    documents = _documents([of_tests[name][groups[0].label, runs[0].seed] for name in judged])
    units = len(documents), len({*documents})
    comparison = Comparison(groups, baseline, test, lengths, additional, warnings, judged, units)
    if baseline is None:
        return comparison
    tokens = of_runs[baseline.label, baseline.seeds[0]].lengths
    bounds = bounds or default_bounds(min(run.config["data"]["max_len"] for run in runs), max(tokens))
    for low, high, numbers in zip([0, *bounds], [*bounds, None], in_buckets(tokens, bounds), strict=True):
        bucket = Part(bucket_name(low + 1, high), numbers, low + 1, high)
        comparison.buckets.append(_scored(bucket, groups, of_runs) if numbers else bucket)
    try:
        comparison.reached = _reached(groups, baseline)
    except UserError as error:
        warnings.append(f"no tokens to a loss: {error}")
    _judge(comparison, {run: [of_tests[name][run] for name in judged] for run in of_runs}, documents)
    return comparison


def _documents(parts: list[SentenceStatistics]) -> list[int]:
    """The number of each sentence's document, over several test sets."""
    documents: list[int] = []
    for part in parts:
        before = max(documents, default=-1) + 1
        documents += (before + part.table[:, COLUMNS.index("document")].astype(int)).tolist()
    return documents


def _statistics(groups: list[Group], test: str) -> Statistics:
    """Raises UserError: a file is missing or damaged, or runs have other numbers of sentences."""
    of_runs = {(group.label, run.seed): statistics(run, test) for group in groups for run in group.runs}
    if len({len(counts.table) for counts in of_runs.values()}) > 1:
        raise UserError(f"runs have different numbers of sentences in {test}: give each its own table")
    return of_runs


def _additional_tests(groups: list[Group]) -> tuple[list[str], list[str]]:
    """The names of additional test sets on which all runs were scored, with the same text; and those of all others."""
    runs = [run for group in groups for run in group.runs]
    shared, others = [], []
    joined = JOINED.format("")  # `analyze lengths` has these
    names = [name for run in runs for name in run.additional_tests if not name.startswith(joined)]
    for name in dict.fromkeys(names):
        scored = all(run.additional_tests.get(name) for run in runs)
        texts = {run.result["text"].get(f"{OF_FURTHER_TESTS}{name}") for run in runs}
        (shared if scored and len(texts) == 1 else others).append(name)
    return shared, others


def _lengths(groups: list[Group], of_runs: Statistics) -> dict[str, float]:
    return {group.label: fmean(of_runs[group.label, n].score("length ratio") for n in group.seeds) for group in groups}


def _scored(part: Part, groups: list[Group], of_runs: Statistics) -> Part:
    """Fill in the BLEU of all groups; a part without numbers becomes the whole test set."""
    part.numbers = part.numbers or [*range(len(next(iter(of_runs.values())).table))]
    for group in groups:
        of_group = [of_runs[group.label, seed].score("bleu", part.numbers) for seed in group.seeds]
        part.bleu[group.label] = Spread.of(of_group)
    return part


def _of_one_domain(data: dict, names: list[str]) -> list[str]:
    """The test set, and those of the additional ones that lie beside it and whose names differ in digits alone.

    So newstest2014 and newstest2015 are of one domain, and test_2016_flickr and test_2017_flickr, but not
    test_2017_mscoco. A table's text has a folder of its own, as in text/NAME-0123abcd/NAME.
    """

    def domain(prefix: str) -> tuple[str, str]:
        path = PurePath(prefix)
        of_table = re.fullmatch(rf"{re.escape(path.name)}-[0-9a-f]{{8}}", path.parent.name)
        return str(path.parent.parent if of_table else path.parent), re.sub(r"\d", "", path.name)

    own = {domain(prefix) for prefix in ([data["test"]] if isinstance(data["test"], str) else data["test"])}
    beside = {PurePath(prefix).name for prefix in data["further_tests"] if {domain(prefix)} == own}
    return ["test", *(name for name in names if name in beside)]


def _judge(
    comparison: Comparison, of_runs: dict[tuple[str, int], list[SentenceStatistics]], documents: list[int]
) -> None:
    """Fill in the measures, of several test sets as if they were one, and the paired tests of two single runs."""
    groups, baseline = comparison.groups, comparison.baseline
    assert baseline is not None
    whole = {
        run: SentenceStatistics(np.concatenate([part.table for part in of_run])) for run, of_run in of_runs.items()
    }
    if [len(group.runs) for group in groups] == [1, 1]:
        other = next(group for group in groups if group is not baseline)
        comparison.paired = paired_tests(*(whole[group.label, group.seeds[0]] for group in (baseline, other)))
    comparison.judged_lengths = _lengths(groups, whole)
    sums: dict[tuple[str, int], Sums] = {}
    if len(baseline.runs) > 1 and any(len(group.runs) > 1 for group in groups if group is not baseline):
        resamples = draw_resamples(documents)
        sums = {run: resamples @ of_run.table for run, of_run in whole.items()}
    bleu = {group.label: min(whole[group.label, seed].score("bleu") for seed in group.seeds) for group in groups}
    has_loss = all(np.isfinite(of_run.table[:, COLUMNS.index("tgt_tokens")]).all() for of_run in whole.values())
    for name in ("loss" if has_loss else "valid_loss", "chrf", "bleu"):
        values, verdicts = {}, {}
        for group in groups:
            of_test = [] if name == "valid_loss" else [whole[group.label, seed].score(name) for seed in group.seeds]
            values[group.label] = of_test or group.values(name)
        theirs = values[baseline.label]
        of_baseline = _no_verdict(theirs, bleu[baseline.label])
        for label, ours in values.items():
            if reason := _no_verdict(ours, bleu[label]) or (of_baseline and f"baseline: {of_baseline}"):
                verdicts[label] = reason
        judged = [group for group in groups if group is not baseline and group.label not in verdicts]
        tables = []
        if name != "valid_loss":
            for group in [*judged, baseline] if judged else []:
                tables.append(np.stack([SCORES[name](sums[group.label, seed]) for seed in group.seeds]))
        found = intervals([values[group.label] for group in judged], theirs, tables) if judged else []
        by_label = {group.label: interval for group, interval in zip(judged, found, strict=True)}
        measure = Measure(name, values, by_label, verdicts)
        verdicts |= {label: interval.verdict(measure.is_loss) for label, interval in measure.intervals.items()}
        verdicts.pop(baseline.label, None)
        comparison.measures.append(measure)
        p = variances_differ([values[group.label] for group in judged] + [theirs]) if judged else None
        if p is not None:
            scatter = f"warning: seeds of one scheme scatter more than those of another in {TITLES[name]}"
            comparison.warnings.append(f"{scatter} (Bartlett's test, p = {p:.3f}): the intervals are less sure")


def _no_verdict(values: list[float], lowest_bleu: float) -> str | None:
    """Why a group with these values has no verdict, if so: one run of it would spoil the variance of all."""
    if lowest_bleu < UNTRAINED:
        return "untrained"
    if not all(map(math.isfinite, values)):
        return "diverged"
    return "one seed" if len(values) < 2 else None


def _reached(groups: list[Group], baseline: Group) -> dict[str, list[float | None]]:
    """Raises UserError: a run's metrics.jsonl is missing or damaged."""
    goal = fmean(loss_curve(run).values[-1] for run in baseline.runs)
    return {group.label: [loss_curve(run).reached(goal) for run in group.runs] for group in groups}
