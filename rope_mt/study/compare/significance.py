"""Whether a difference in BLEU is more than chance: over the sentences of a test set, and over seeds.

Over sentences by sacreBLEU's two paired tests: bootstrap resampling (Koehn 2004) and approximate randomisation (Riezler
& Maxwell 2005), which take the runs as they are. Over seeds by Welch's t-test, where both sides have several, which
takes the sentences as they are.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rope_mt.study.compare.paired_tests import OverSentences

ALPHA = 0.05


@dataclass(frozen=True)
class Difference:
    """Several runs against several of the baseline."""

    together: OverSentences  # the mean over pairs
    pairs: list[OverSentences]
    welch: float | None  # of the runs in pairs; None: there is one pair, so the noise between seeds is not measured

    @property
    def significant(self) -> bool:
        """All p-values are below 0.05, and all pairs differ in the direction in which the means do."""
        ps = [self.together.bootstrap, self.together.randomisation, *([] if self.welch is None else [self.welch])]
        return all(p < ALPHA for p in ps) and all(pair.delta * self.together.delta > 0 for pair in self.pairs)

    @property
    def verdict(self) -> str:
        if not self.significant:
            return "within noise"
        return "better" if self.together.delta > 0 else "worse"


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
