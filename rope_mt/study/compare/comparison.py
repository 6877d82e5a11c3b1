"""Groups of runs against a baseline, on test sets and by source length: all that the tables and the report show."""

from dataclasses import dataclass, field
from statistics import fmean

from rope_mt.config.data import OF_FURTHER_TESTS
from rope_mt.errors import UserError
from rope_mt.study.compare.buckets import bucket_name, default_bounds, in_buckets
from rope_mt.study.compare.groups import Group, Spread
from rope_mt.study.compare.significance import Difference, over_sentences, pairs_by_seed, samples, signatures, welch
from rope_mt.study.run_files import loss_curve, statistics
from rope_mt.system.progress import progress
from rope_mt.translation.sentence_statistics import SentenceStatistics

Statistics = dict[tuple[str, int], SentenceStatistics]  # of each run, by the label of its group and its seed


@dataclass
class Part:
    """A test set, or its sentences in one bucket of source length, and the scores of the groups on it."""

    name: str
    numbers: list[int]  # of the sentences, from 0
    low: int = 0  # tokens of the shortest and the longest source in a bucket, without the end of the sentence
    high: int | None = None  # None: there is no longest
    bleu: dict[str, Spread] = field(default_factory=dict)  # by label; empty without a sentence
    differences: dict[str, Difference] = field(default_factory=dict)  # by label, without the baseline's

    @property
    def sentences(self) -> int:
        return len(self.numbers)


@dataclass
class Comparison:
    groups: list[Group]
    baseline: Group | None  # None: nothing is tested
    test: Part
    lengths: dict[str, float]  # by label: words of the translations over words of the references, mean over seeds
    additional: list[Part]  # additional test sets
    warnings: list[str]
    buckets: list[Part] = field(default_factory=list)  # parts of the test set
    test_signatures: list[str] = field(default_factory=list)  # sacreBLEU's, of bootstrap and randomisation
    # By label, for each run that has a partner in the baseline: after how many target tokens its validation loss was
    # down to the last loss of its partner; None: never. None instead of all: no baseline, or a run without a curve.
    reached: dict[str, list[float | None]] | None = None

    @property
    def signature(self) -> str:
        return self.groups[0].runs[0].result["test"]["bleu_signature"]


def compare_groups(groups: list[Group], baseline: Group | None, bounds: list[int] | None) -> Comparison:
    """Test every group against the baseline, on the whole test set, in each bucket, and on additional test sets.

    Args:
        bounds: of the buckets, in tokens of the baseline's tokenizer; None: `default_bounds`.

    Raises:
        UserError: the sufficient statistics of a run's score are missing or damaged.
    """
    runs = [run for group in groups for run in group.runs]
    of_runs = _statistics(groups, "test")
    lengths = {
        group.label: fmean(of_runs[group.label, n].score("length ratio") for n in group.seeds) for group in groups
    }
    shared, not_shared = _additional_tests(groups)
    warnings = [f"not all runs have a score on the same {name}, which is left out" for name in not_shared]
    test = _whole("test", of_runs)
    comparison = Comparison(groups, baseline, test, lengths, [], warnings)
    if baseline is not None:
        tokens = of_runs[baseline.label, baseline.seeds[0]].lengths
        bounds = bounds or default_bounds(min(run.config["data"]["max_len"] for run in runs), max(tokens))
        for low, high, numbers in zip([0, *bounds], [*bounds, None], in_buckets(tokens, bounds), strict=True):
            comparison.buckets.append(Part(bucket_name(low + 1, high), numbers, low + 1, high))
        comparison.test_signatures = signatures()
        warnings += [_other_seeds(group, baseline) for group in groups if {*group.seeds} != {*baseline.seeds}]
        try:
            comparison.reached = _reached(groups, baseline)
        except UserError as error:
            warnings.append(f"no tokens to a loss: {error}")
    _score([test, *comparison.buckets], groups, baseline, of_runs)
    for name in shared:
        of_runs = _statistics(groups, name)
        comparison.additional.append(_whole(name, of_runs))
        _score(comparison.additional[-1:], groups, baseline, of_runs)
    return comparison


def _statistics(groups: list[Group], test: str) -> Statistics:
    """Raises UserError: a file is missing or damaged, or runs have other numbers of sentences."""
    of_runs = {(group.label, run.seed): statistics(run, test) for group in groups for run in group.runs}
    if len({len(counts.table) for counts in of_runs.values()}) > 1:
        raise UserError(f"runs have different numbers of sentences in {test}: give each its own table")
    return of_runs


def _whole(name: str, of_runs: Statistics) -> Part:
    return Part(name, list(range(len(next(iter(of_runs.values())).table))))


def _additional_tests(groups: list[Group]) -> tuple[list[str], list[str]]:
    """The names of additional test sets on which all runs were scored, with the same text; and those of all others."""
    runs = [run for group in groups for run in group.runs]
    shared, others = [], []
    for name in dict.fromkeys(name for run in runs for name in run.additional_tests):
        scored = all(run.additional_tests.get(name) for run in runs)
        texts = {run.result["text"].get(f"{OF_FURTHER_TESTS}{name}") for run in runs}
        (shared if scored and len(texts) == 1 else others).append(name)
    return shared, others


def _other_seeds(group: Group, baseline: Group) -> str:
    ours, theirs = (", ".join(map(str, of.seeds)) for of in (group, baseline))
    shared = {*group.seeds} & {*baseline.seeds}
    taken = "differences are those of the seeds in both" if shared else "none is in both, so they are paired in order"
    return f"warning: {group.label} has seeds {ours} and {baseline.label} {theirs}: {taken}"


def _reached(groups: list[Group], baseline: Group) -> dict[str, list[float | None]]:
    """Raises UserError: a run's metrics.jsonl is missing or damaged."""
    goals = {run.seed: loss_curve(run).values[-1] for run in baseline.runs}
    reached = {}
    for group in groups:
        curves = {run.seed: loss_curve(run) for run in group.runs}
        pairs = pairs_by_seed(baseline.seeds, group.seeds)
        reached[group.label] = [curves[ours].reached(goals[theirs]) for theirs, ours in pairs]
    return reached


def _score(parts: list[Part], groups: list[Group], baseline: Group | None, of_runs: Statistics) -> None:
    """Fill in BLEU and differences on each part of one test set.

    A difference is that of the seeds that are paired; the mean and deviation of a group are of all its seeds.
    """
    pairs = {}
    for group in groups:
        if baseline is not None and group is not baseline:
            seeds = pairs_by_seed(baseline.seeds, group.seeds)
            pairs[group.label] = [((baseline.label, theirs), (group.label, ours)) for theirs, ours in seeds]
    parts = [part for part in parts if part.numbers]
    with progress("paired tests", len(parts) * len(pairs), "comparisons") as advance:
        for part in parts:
            bleu = {run: counts.score("bleu", part.numbers) for run, counts in of_runs.items()}
            for group in groups:
                part.bleu[group.label] = Spread.of([bleu[group.label, seed] for seed in group.seeds])
            if not pairs:
                continue
            rows = [counts.table[part.numbers] for counts in of_runs.values()]
            sampled = dict(zip(of_runs, samples(rows), strict=True))
            for label, of_group in pairs.items():
                theirs, ours = zip(*of_group, strict=True)
                part.differences[label] = Difference(
                    over_sentences([sampled[run] for run in theirs], [sampled[run] for run in ours]),
                    [over_sentences([sampled[one]], [sampled[other]]) for one, other in of_group],
                    welch([bleu[run] for run in ours], [bleu[run] for run in theirs]),
                )
                advance(1)
