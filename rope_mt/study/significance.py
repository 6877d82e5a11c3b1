"""Whether a difference in BLEU is more than chance: over the sentences of a test set, and over seeds.

Over sentences by sacreBLEU's two paired tests: bootstrap resampling (Koehn 2004) and approximate randomisation (Riezler
& Maxwell 2005), each of one run against another. Over seeds by Welch's t-test, where both sides have several.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from rope_mt.study.paired_tests import bootstrap, delta, randomisation

ALPHA = 0.05

Rows = list[list[int]]


@dataclass(frozen=True)
class Pair:
    """One run against one of the baseline, on the same sentences."""

    delta: float  # BLEU, run minus baseline
    bootstrap: float  # p-values
    randomisation: float


@dataclass(frozen=True)
class Difference:
    """Several runs against several of the baseline."""

    pairs: list[Pair]
    welch: float | None  # of the runs in pairs; None: there is one pair, so the noise between seeds is not measured

    @property
    def delta(self) -> float:
        """BLEU, mean over pairs."""
        return fmean(pair.delta for pair in self.pairs)

    @property
    def bootstrap(self) -> float:
        return combined([pair.bootstrap for pair in self.pairs])

    @property
    def randomisation(self) -> float:
        return combined([pair.randomisation for pair in self.pairs])

    @property
    def significant(self) -> bool:
        """All p-values are below 0.05, and all pairs differ in the direction in which the means do."""
        ps = [self.bootstrap, self.randomisation, *([] if self.welch is None else [self.welch])]
        return all(p < ALPHA for p in ps) and all(pair.delta * self.delta > 0 for pair in self.pairs)

    @property
    def verdict(self) -> str:
        if not self.significant:
            return "within noise"
        return "better" if self.delta > 0 else "worse"


def paired(baseline: Rows, systems: Sequence[Rows]) -> list[Pair]:
    """Each system against the baseline, by both of sacreBLEU's tests with its numbers of samples and its seed.

    Each is given by what BLEU counts in every sentence, the rows of `Counts`.

    sacreBLEU counts the samples that differ by more than what was observed, and leaves out those that differ by just as
    much: so two equal outputs have its smallest p-value, and one sentence alone has it too. Here equal scores have p 1,
    and no p is below 2^(1-n), where n sentences differ in their n-gram counts: of the 2^n ways to swap them, the one
    observed and its mirror image both differ that much. From n = 15 on this changes nothing.
    """
    theirs, *ours = (np.array(rows, dtype=np.float64) for rows in [baseline, *systems])
    pairs = []
    for system, *ps in zip(ours, bootstrap(theirs, ours), randomisation(theirs, ours), strict=True):
        difference, unlike = delta(theirs, system), int(np.any(system != theirs, axis=1).sum())
        least = 1.0 if difference == 0 else 2.0 ** (1 - unlike)
        pairs.append(Pair(difference, *(max(p, least) for p in ps)))
    return pairs


def combined(ps: Sequence[float]) -> float:
    """One p-value for several tests of the same question: twice their mean, or the one there is.

    Valid however the tests depend on each other (Rüschendorf 1982; Vovk & Wang 2020, arXiv 1212.4966). They do depend,
    as all runs translate the same sentences.
    """
    return ps[0] if len(ps) == 1 else min(1.0, 2 * fmean(ps))


def welch(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """p of Welch's t-test for equal means, two-sided; None unless both sides have two or more values."""
    if min(len(ours), len(theirs)) < 2:
        return None
    if len({*ours}) == len({*theirs}) == 1:
        return float(ours[0] == theirs[0])  # the limit as both variances go to 0, where t has none
    from scipy.stats import ttest_ind  # takes most of a second, and one seed does not need it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "precision loss", where values hardly differ
        found: Any = ttest_ind(ours, theirs, equal_var=False)
        return float(found.pvalue)


def pairs_by_seed(ours: Sequence[int], theirs: Sequence[int]) -> list[tuple[int, int]]:
    """Which of our seeds is paired with which of theirs: the same, or without any in common the k-th with the k-th."""
    common = sorted({*ours} & {*theirs})
    return [(seed, seed) for seed in common] or [*zip(sorted(ours), sorted(theirs), strict=False)]
