"""Whether a difference in BLEU is more than chance: over the sentences of a test set, and over seeds.

Over sentences by sacreBLEU's two paired tests, which take the runs as they are: bootstrap resampling (Koehn 2004) and
approximate randomisation (Riezler & Maxwell 2005). Over seeds by Welch's t-test, which takes the sentences as they are,
where both sides have several seeds.

The samples, the scores and the sufficient statistics are sacreBLEU's. It scores the samples one by one; here all are
scored at once, as a comparison of 18 runs on five parts of a test set asks for two million scores.

sacreBLEU tests one output against another. Here several seeds on each side translate the same sentences: a sample is
one draw of sentences for all of them, and the tested figure is the mean difference of the pairs, so that seeds that
agree are no more evidence than one. For one pair it is sacreBLEU's test.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.bleu import BLEU

from rope_mt.translation.sentence_statistics import BLEU_AT, bleu_of_sums

ALPHA = 0.05
SEED, RESAMPLES, TRIALS = 12345, 1_000, 10_000  # sacreBLEU's own

# Trials at once, which take 25 MB for the 3,003 sentences of newstest2014. A multiple of 32: numpy takes bits from
# words of 32 bits, so that draws in blocks of this size are the bits of a single draw.
AT_ONCE = 1_024
ROUNDING = 1e-9  # BLEU points by which two samples with the same score may differ


@dataclass(frozen=True)
class Sampled:
    """A run's sufficient statistics of BLEU, sentence by sentence and summed over each sample of sentences."""

    rows: Float[np.ndarray, "sentences 32"]
    resampled: Float[np.ndarray, "resamples 32"]  # sentences drawn with replacement
    swapped: Float[np.ndarray, "trials 32"]  # sentences that change sides with the partner's


@dataclass(frozen=True)
class OverSentences:
    """One run against one of the baseline, or the mean of several such pairs."""

    delta: float  # BLEU, run minus baseline
    bootstrap: float  # p-values
    randomisation: float


@dataclass(frozen=True)
class Difference:
    """Several runs against several of the baseline."""

    together: OverSentences  # the mean over pairs
    pairs: list[OverSentences]
    welch: float | None  # of the runs in pairs; None: there is one pair, so the noise between seeds is not measured

    @property
    def significant(self) -> bool:
        """All p-values are below 0.05, and all pairs differ in the same direction as the means."""
        ps = [self.together.bootstrap, self.together.randomisation]
        if self.welch is not None:
            ps.append(self.welch)
        return all(p < ALPHA for p in ps) and all(pair.delta * self.together.delta > 0 for pair in self.pairs)

    @property
    def verdict(self) -> str:
        if not self.significant:
            return "within noise"
        return "better" if self.together.delta > 0 else "worse"


def samples(runs: Sequence[Any]) -> list[Sampled]:
    """Draw the same samples of sentences for every run, as many as sacreBLEU draws and with its seed.

    Args:
        runs: the tables of `SentenceStatistics`, one a sentence; all of one test set.
    """
    tables = [np.array(rows, dtype=np.float64) for rows in runs]
    n = len(tables[0])
    drawn = np.random.default_rng(SEED).choice(n, size=(RESAMPLES, n))
    times = np.stack([np.bincount(sample, minlength=n) for sample in drawn]).astype(np.float64)
    rng = np.random.default_rng(SEED)
    swapped: list[list[np.ndarray]] = [[] for _ in tables]
    for first in range(0, TRIALS, AT_ONCE):
        swaps = rng.integers(2, size=(min(AT_ONCE, TRIALS - first), n), dtype=bool).astype(np.float64)
        for rows, sums in zip(tables, swapped, strict=True):
            sums.append(swaps @ rows)
    return [Sampled(rows, times @ rows, np.concatenate(sums)) for rows, sums in zip(tables, swapped, strict=True)]


def over_sentences(baselines: Sequence[Sampled], systems: Sequence[Sampled]) -> OverSentences:
    """The mean difference of the k-th system from the k-th baseline, and how likely the choice of sentences makes it.

    `sacrebleu --paired-bs` counts samples beyond the difference on one side alone, and `sacrebleu --paired-ar` on both
    sides, so it has about twice the p.

    sacreBLEU counts samples that differ by more than the observed difference, and skips those that differ by just as
    much: so two equal outputs have its smallest p-value, and one sentence alone has it too. Here equal scores have p 1,
    and no p is below 2^(1-n), where n sentences differ in their n-gram statistics: of the 2^n ways to swap them, the
    observed one and its mirror image both differ that much. From n = 15 on this changes nothing.
    """
    observed, resampled, swapped, unlike = [], [], [], []
    for theirs, ours in zip(baselines, systems, strict=True):
        our_sum, their_sum = ours.rows.sum(axis=0), theirs.rows.sum(axis=0)
        moved = ours.swapped - theirs.swapped
        observed.append(np.subtract(*bleu_of_sums(np.stack([our_sum, their_sum]))))
        resampled.append(bleu_of_sums(ours.resampled) - bleu_of_sums(theirs.resampled))
        swapped.append(bleu_of_sums(our_sum - moved) - bleu_of_sums(their_sum + moved))
        unlike.append(np.any(ours.rows[:, BLEU_AT] != theirs.rows[:, BLEU_AT], axis=1))
    delta = float(np.mean(observed))
    least = 1.0 if delta == 0 else 2.0 ** (1 - int(np.any(unlike, axis=0).sum()))
    differences = np.abs(np.mean(resampled, axis=0))
    bootstrap = _p(differences - differences.mean(), delta)
    randomisation = _p(np.abs(np.mean(swapped, axis=0)), delta)
    return OverSentences(delta, max(least, bootstrap), max(least, randomisation))


def _p(differences: Float[np.ndarray, " samples"], delta: float) -> float:
    """The fraction of samples that differ by more than was observed, with the observed one among them."""
    return (int(np.sum(differences > abs(delta) + ROUNDING)) + 1) / (len(differences) + 1)


def signatures() -> list[str]:
    """sacreBLEU's signatures of bootstrap and randomisation."""
    metric = BLEU()
    metric.num_refs = 1
    lines = []
    for kind, n_samples in (("bs", RESAMPLES), ("ar", TRIALS)):
        signature = metric.get_signature()
        signature.update("seed", str(SEED))
        signature.update(kind, n_samples)
        lines.append(str(signature))
    return lines


def welch(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """p of Welch's t-test for equal means, two-sided; None unless both sides have two or more values."""
    if min(len(ours), len(theirs)) < 2:
        return None
    if len({*ours}) == len({*theirs}) == 1:
        return float(ours[0] == theirs[0])  # the limit as both variances go to 0, where t is undefined
    from scipy.stats import ttest_ind  # takes most of a second to import, and one seed does not need it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "precision loss", where values hardly differ
        result: Any = ttest_ind(ours, theirs, equal_var=False)
        return float(result.pvalue)


def pairs_by_seed(ours: Sequence[int], theirs: Sequence[int]) -> list[tuple[int, int]]:
    """Pair our seeds with theirs: the same seeds, or without any in common the k-th with the k-th."""
    common = sorted({*ours} & {*theirs})
    return [(seed, seed) for seed in common] or [*zip(sorted(ours), sorted(theirs), strict=False)]
