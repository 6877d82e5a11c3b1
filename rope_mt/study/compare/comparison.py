"""Groups of runs against a baseline: all that the tables and the report show."""

import math
import re
from dataclasses import dataclass, field
from pathlib import PurePath
from statistics import fmean

import numpy as np

from rope_mt.config.data import JOINED, OF_FURTHER_TESTS
from rope_mt.errors import UserError
from rope_mt.study.compare.buckets import default_bounds, in_buckets
from rope_mt.study.compare.groups import Group, Spread
from rope_mt.study.compare.intervals import Interval, draw_resamples, intervals, variances_differ
from rope_mt.study.compare.paired import paired_tests
from rope_mt.study.finished_runs import FinishedRun, tokens_to
from rope_mt.translation.sentence_statistics import COLUMNS, SCORES, SentenceStatistics, Sums

Statistics = dict[str, list[SentenceStatistics]]  # by the label of a group, of each of its runs
TITLES = {"loss": "loss", "valid_loss": "validation loss", "chrf": "chrF", "bleu": "BLEU"}
LENGTH = 0.01  # a ratio of lengths that moves BLEU by a quarter of a point
UNTRAINED = 5.0  # a run below this BLEU has not learned to translate


@dataclass(frozen=True)
class Part:
    """A test set, or its sentences in one bucket of source length, and the BLEU of the groups on it."""

    name: str
    sentences: int
    bleu: dict[str, Spread]  # by label; empty without a sentence
    low: int = 0  # tokens of the shortest and the longest source in a bucket, without the end of the sentence
    high: int | None = None  # None: there is no longest


@dataclass
class Measure:
    """Loss, chrF or BLEU of all groups on the test sets of one domain together."""

    name: str  # one of the SCORES, or valid_loss where the loss of the test sets is missing
    values: dict[str, list[float]]  # by label, of each seed
    intervals: dict[str, Interval]  # by label, of the groups that have a verdict
    verdicts: dict[str, str]  # by label

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
    tests: list[Part]  # the test set, and after it the additional ones
    lengths: dict[str, float]  # by label: words of the translations over words of the references, mean over seeds
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
    def runs(self) -> list[FinishedRun]:
        return [run for group in self.groups for run in group.runs]

    @property
    def signature(self) -> str:
        return self.runs[0].result["test"]["bleu_signature"]


def compare_groups(groups: list[Group], baseline: Group | None, bounds: list[int] | None) -> Comparison:
    """Compare every group with the baseline, on the test sets of one domain together, and in each bucket.

    Args:
        bounds: of the buckets, in tokens of the baseline's tokenizer; None: `default_bounds`.

    Raises:
        UserError: the sufficient statistics of a run's score are missing or damaged.
    """
    runs = [run for group in groups for run in group.runs]
    shared, not_shared = _tests(runs)
    of_tests = {name: _statistics(groups, name) for name in shared}
    on_test = of_tests["test"]
    warnings = [f"not all runs have a score on the same {name}, which is skipped" for name in not_shared]
    first = {name: of_test[groups[0].label][0] for name, of_test in of_tests.items()}
    tests = [Part(name, len(first[name].table), _bleu(of_test)) for name, of_test in of_tests.items()]
    judged = _of_one_domain(runs[0].config["data"], shared) if baseline else ["test"]
    documents = _documents([first[name] for name in judged])
    units = len(documents), len({*documents})
    comparison = Comparison(groups, baseline, tests, _lengths(on_test), warnings, judged, units)
    if baseline is None:
        return comparison
    tokens = on_test[baseline.label][0].lengths
    bounds = bounds or default_bounds(min(run.config["data"]["max_len"] for run in runs), max(tokens))
    for bucket in in_buckets(tokens, bounds):
        bleu = _bleu(on_test, bucket.numbers) if bucket.numbers else {}
        comparison.buckets.append(Part(bucket.name, len(bucket.numbers), bleu, bucket.low, bucket.high))
    try:
        losses = {group.label: [run.curves()["valid/loss"] for run in group.runs] for group in groups}
        goal = fmean(curve[-1].value for curve in losses[baseline.label])
        comparison.reached = {label: [tokens_to(goal, curve) for curve in curves] for label, curves in losses.items()}
    except UserError as error:
        warnings.append(f"no tokens to a loss: {error}")
    _judge(comparison, [of_tests[name] for name in judged], documents)
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
    of_groups = {group.label: [run.statistics(test) for run in group.runs] for group in groups}
    if len({len(of_run.table) for of_group in of_groups.values() for of_run in of_group}) > 1:
        raise UserError(f"runs have different numbers of sentences in {test}: give each its own table")
    return of_groups


def _tests(runs: list[FinishedRun]) -> tuple[list[str], list[str]]:
    """The names of test sets on which all runs were scored, with the same text; and those of all others."""
    shared, others = [], []
    joined = JOINED.format("")  # `analyze lengths` has these
    names = [name for run in runs for name in run.scores if not name.startswith(joined)]
    for name in dict.fromkeys(names):
        scored = all(run.scores.get(name) for run in runs)
        texts = {run.result["text"].get(f"{OF_FURTHER_TESTS}{name}") for run in runs}  # of `test` all have the same
        (shared if scored and len(texts) == 1 else others).append(name)
    return shared, others


def _lengths(of_groups: Statistics) -> dict[str, float]:
    ratios = _scores(of_groups, "length ratio")
    return {label: fmean(of_group) for label, of_group in ratios.items()}


def _bleu(of_groups: Statistics, numbers: list[int] | None = None) -> dict[str, Spread]:
    """BLEU on the sentences with these numbers, or on all."""
    scores = _scores(of_groups, "bleu", numbers)
    return {label: Spread.of(of_group) for label, of_group in scores.items()}


def _scores(of_groups: Statistics, name: str, numbers: list[int] | None = None) -> dict[str, list[float]]:
    return {label: [of_run.score(name, numbers) for of_run in of_group] for label, of_group in of_groups.items()}


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


def _judge(comparison: Comparison, of_tests: list[Statistics], documents: list[int]) -> None:
    """Fill in the measures, of several test sets as if they were one, and the paired tests of two single runs."""
    groups, baseline = comparison.groups, comparison.baseline
    assert baseline is not None
    whole: Statistics = {}
    for group in groups:
        of_runs = zip(*(of_test[group.label] for of_test in of_tests), strict=True)
        whole[group.label] = [SentenceStatistics(np.concatenate([part.table for part in parts])) for parts in of_runs]
    others = [group.label for group in groups if group is not baseline]
    if [len(group.runs) for group in groups] == [1, 1]:
        comparison.paired = paired_tests(whole[baseline.label][0], whole[others[0]][0])
    comparison.judged_lengths = _lengths(whole)
    sums: dict[str, list[Sums]] = {}
    if len(baseline.runs) > 1 and any(len(whole[label]) > 1 for label in others):
        resamples = draw_resamples(documents)
        sums = {label: [resamples @ of_run.table for of_run in of_group] for label, of_group in whole.items()}
    bleu = _scores(whole, "bleu")
    tokens = [of_run.table[:, COLUMNS.index("tgt_tokens")] for of_group in whole.values() for of_run in of_group]
    has_loss = np.isfinite(tokens).all()
    for name in ("loss" if has_loss else "valid_loss", "chrf", "bleu"):
        values = _scores(whole, name) if name in SCORES else {group.label: group.values(name) for group in groups}
        of_baseline = _no_verdict(values[baseline.label], bleu[baseline.label])
        verdicts = {baseline.label: "baseline"}
        for label in others:
            if reason := _no_verdict(values[label], bleu[label]) or (of_baseline and f"baseline: {of_baseline}"):
                verdicts[label] = reason
        measure = Measure(name, values, {}, verdicts)
        comparison.measures.append(measure)
        if judged := [label for label in others if label not in verdicts]:
            compared = [*judged, baseline.label]
            tables = []
            if name in SCORES:
                tables = [np.stack([SCORES[name](of_run) for of_run in sums[label]]) for label in compared]
            found = intervals([values[label] for label in judged], values[baseline.label], tables)
            measure.intervals.update(zip(judged, found, strict=True))
            verdicts |= {label: interval.verdict(measure.is_loss) for label, interval in measure.intervals.items()}
            p = variances_differ([values[label] for label in compared])
            if p is not None:
                scatter = f"warning: seeds of one scheme scatter more than those of another in {TITLES[name]}"
                comparison.warnings.append(f"{scatter} (Bartlett's test, p = {p:.3f}): the intervals are less sure")


def _no_verdict(values: list[float], bleu: list[float]) -> str | None:
    """Why a group with these values has no verdict, if so: one run of it would spoil the variance of all."""
    if min(bleu) < UNTRAINED:
        return "untrained"
    if not all(map(math.isfinite, values)):
        return "diverged"
    return "one seed" if len(values) < 2 else None
