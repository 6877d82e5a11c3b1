"""What a comparison over seeds finds: each group of runs against a baseline, on test sets and by source length."""

from dataclasses import dataclass, field
from statistics import fmean

from rope_mt.config.data import OF_FURTHER_TESTS
from rope_mt.errors import UserError
from rope_mt.study.compare.buckets import bucket_name, default_bounds, in_buckets
from rope_mt.study.compare.groups import Group, Spread
from rope_mt.study.compare.paired_tests import over_sentences, samples, signatures
from rope_mt.study.compare.significance import Difference, pairs_by_seed, welch
from rope_mt.study.curve import Curve
from rope_mt.study.shared_test_set import counts
from rope_mt.system.progress import progress
from rope_mt.translation.bleu_statistics import BleuStatistics

Counted = dict[str, dict[int, BleuStatistics]]  # of each run, by its group's label and its seed
# By label, for each run that has a partner in the baseline: after how many target tokens its validation loss was down
# to the last one of its partner; None: never.
Reached = dict[str, list[float | None]]


@dataclass(frozen=True)
class BucketResult:
    """The sentences of one bucket of source length, in tokens without the end of the sentence."""

    low: int
    high: int | None  # None: the last bucket, which is open
    sentences: int
    bleu: dict[str, Spread]  # by label; empty without a sentence
    differences: dict[str, Difference]  # by label, without the baseline's

    @property
    def name(self) -> str:
        return bucket_name(self.low, self.high)


@dataclass(frozen=True)
class FurtherTest:
    """A test set beside the one that the runs are compared on."""

    name: str
    sentences: int
    bleu: dict[str, Spread]  # by label
    differences: dict[str, Difference]  # by label, without the baseline's


@dataclass(frozen=True)
class Comparison:
    """All that the tables say."""

    groups: list[Group]
    baseline: Group | None  # None: there is one group alone, and nothing to test
    sentences: int
    lengths: dict[str, float]  # by label: words of the translations over words of the references, mean over seeds
    differences: dict[str, Difference] = field(default_factory=dict)  # by label, without the baseline's
    test_signatures: list[str] = field(default_factory=list)  # sacreBLEU's, of bootstrap and randomisation
    buckets: list[BucketResult] = field(default_factory=list)
    further: list[FurtherTest] = field(default_factory=list)
    reached: Reached | None = None  # None: there is no baseline, or a run has no curve
    cautions: list[str] = field(default_factory=list)

    @property
    def signature(self) -> str:
        return self.groups[0].runs[0].result["test"]["bleu_signature"]


def compare(groups: list[Group], baseline: Group | None, bounds: list[int] | None) -> Comparison:
    """Test every group against the baseline, on the whole test set, in each bucket, and on the further test sets.

    Args:
        bounds: of the buckets, in tokens of the baseline's tokenizer; None: `default_bounds`.

    Raises:
        UserError: what a run's score is made of is missing or damaged.
    """
    counted = _counted(groups, "test")
    sentences = len(next(iter(counted[groups[0].label].values())).rows)
    shared, others = _further_tests(groups)
    further = [_further(groups, baseline, name) for name in shared]
    cautions = [f"not all runs have a score on the same {name}, which is left out" for name in others]
    ratios = {label: fmean(of.length_ratio() for of in by_seed.values()) for label, by_seed in counted.items()}
    if baseline is None:
        return Comparison(groups, None, sentences, ratios, further=further, cautions=cautions)
    cautions += [_other_seeds(group, baseline) for group in groups if {*group.seeds} != {*baseline.seeds}]
    lengths = counted[baseline.label][baseline.seeds[0]].lengths
    caps = [run.config["data"]["max_len"] for group in groups for run in group.runs]
    bounds = bounds or default_bounds(min(caps), max(lengths))
    parts = [list(range(sentences)), *in_buckets(lengths, bounds)]
    reached = None
    try:
        reached = _reached(groups, baseline)
    except UserError as error:
        cautions.append(f"no tokens to a loss: {error}")
    whole, *of_parts = _on_parts(groups, baseline, counted, parts)
    buckets = [
        BucketResult(low + 1, high, len(part), of_part.bleu, of_part.differences)
        for low, high, part, of_part in zip([0, *bounds], [*bounds, None], parts[1:], of_parts, strict=True)
    ]
    return Comparison(
        groups,
        baseline,
        sentences,
        ratios,
        differences=whole.differences,
        test_signatures=signatures(),
        buckets=buckets,
        further=further,
        reached=reached,
        cautions=cautions,
    )


def _other_seeds(group: Group, baseline: Group) -> str:
    ours, theirs = (", ".join(map(str, of.seeds)) for of in (group, baseline))
    shared = {*group.seeds} & {*baseline.seeds}
    taken = "differences are those of the seeds in both" if shared else "none is in both, so they are paired in order"
    return f"warning: {group.label} has seeds {ours} and {baseline.label} {theirs}: {taken}"


def _reached(groups: list[Group], baseline: Group) -> Reached:
    """Raises UserError: a run's metrics.jsonl is missing or damaged."""
    theirs = {run.seed: Curve.read(run) for run in baseline.runs}
    found: Reached = {}
    for group in groups:
        ours = {run.seed: Curve.read(run) for run in group.runs}
        pairs = pairs_by_seed(baseline.seeds, group.seeds)
        found[group.label] = [ours[of].reached(theirs[against].losses[-1]) for against, of in pairs]
    return found


def _counted(groups: list[Group], test: str) -> Counted:
    """Raises UserError: a file is missing or damaged, or runs have other numbers of sentences."""
    found = {group.label: {run.seed: counts(run, test) for run in group.runs} for group in groups}
    if len({len(of.rows) for by_seed in found.values() for of in by_seed.values()}) > 1:
        raise UserError(f"runs have different numbers of sentences in {test}: give each its own table")
    return found


def _further_tests(groups: list[Group]) -> tuple[list[str], list[str]]:
    """The names of further test sets that all runs were scored on, the same text, and those of all others."""
    runs = [run for group in groups for run in group.runs]
    names = dict.fromkeys(name for run in runs for name in run.further_tests)
    shared = [
        name
        for name in names
        if all(run.further_tests.get(name) for run in runs)
        and len({run.result["text"].get(f"{OF_FURTHER_TESTS}{name}") for run in runs}) == 1
    ]
    return shared, [name for name in names if name not in shared]


def _further(groups: list[Group], baseline: Group | None, name: str) -> FurtherTest:
    """The same on a further test set."""
    counted = _counted(groups, name)
    sentences = len(next(iter(counted[groups[0].label].values())).rows)
    if baseline is None:
        bleu = {label: Spread.of([found.bleu() for found in of.values()]) for label, of in counted.items()}
        return FurtherTest(name, sentences, bleu, {})
    [whole] = _on_parts(groups, baseline, counted, [list(range(sentences))])
    return FurtherTest(name, sentences, whole.bleu, whole.differences)


@dataclass(frozen=True)
class _OnPart:
    """What was found on one part of a test set; nothing where it has no sentence."""

    bleu: dict[str, Spread]  # by label
    differences: dict[str, Difference]  # by label, without the baseline's


def _on_parts(groups: list[Group], baseline: Group, counted: Counted, parts: list[list[int]]) -> list[_OnPart]:
    """Each group against the baseline on each part, from the BLEU of each seed and from paired tests.

    All of it is of the seeds that are paired; the mean and deviation of a group are of all its seeds.
    """
    pairs = {}
    for group in groups:
        if group is not baseline:
            seeds = pairs_by_seed(baseline.seeds, group.seeds)
            pairs[group.label] = [((baseline.label, theirs), (group.label, ours)) for theirs, ours in seeds]
    counts_of = {(label, seed): of for label, by_seed in counted.items() for seed, of in by_seed.items()}
    found = []
    with progress("paired tests", sum(map(bool, parts)) * len(pairs), "comparisons") as advance:
        for part in parts:
            if not part:
                found.append(_OnPart({}, {}))
                continue
            bleu = {run: of.bleu(part) for run, of in counts_of.items()}
            sampled = dict(zip(counts_of, samples([of.part(part) for of in counts_of.values()]), strict=True))
            differences = {}
            for label, of_label in pairs.items():
                theirs, ours = zip(*of_label, strict=True)
                alone = [over_sentences([sampled[one]], [sampled[other]]) for one, other in of_label]
                together = over_sentences([sampled[run] for run in theirs], [sampled[run] for run in ours])
                over_seeds = welch([bleu[run] for run in ours], [bleu[run] for run in theirs])
                differences[label] = Difference(together, alone, over_seeds)
                advance(1)
            spreads = {label: Spread.of([bleu[label, seed] for seed in by_seed]) for label, by_seed in counted.items()}
            found.append(_OnPart(spreads, differences))
    return found
