"""How far a scheme is from the baseline, and how sure that is: one interval over seeds and sentences.

Seeds: the variance is pooled over all schemes. Sentences: resamples that all runs share say how much of the difference
the choice of sentences makes. All schemes against one baseline are Dunnett's test (1955): the intervals hold together
in 95 of 100 comparisons, however many schemes there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

LEVEL, POWER = 0.95, 0.8
SEED, RESAMPLES = 12345, 2_000
LARGE = 1e6  # degrees of freedom of a variance that is known

Table = Float[np.ndarray, "_ resamples"]  # scores of the runs of a group on each resample


@dataclass(frozen=True)
class Interval:
    """The difference of a scheme from the baseline, and its simultaneous 95 % interval."""

    difference: float
    low: float
    high: float
    detectable: float  # a true difference of this size would be told apart with probability POWER

    def verdict(self, lower_is_better: bool) -> str:
        if self.low <= 0 <= self.high:
            return "not told apart"
        return "better" if (self.difference < 0) == lower_is_better else "worse"


def draw_resamples(documents: Sequence[int]) -> Float[np.ndarray, "resamples sentences"]:
    """How often each sentence is in each resample: whole documents are drawn, with replacement.

    Args:
        documents: the document of each sentence; where none is known, each sentence is one of its own.
    """
    names, of_sentence = np.unique(documents, return_inverse=True)
    drawn = np.random.default_rng(SEED).choice(len(names), size=(RESAMPLES, len(names)))
    return np.stack([np.bincount(sample, minlength=len(names)) for sample in drawn]).astype(float)[:, of_sentence]


def pooled_variance(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The variance between seeds, over all groups together, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups)
    return sum((len(group) - 1) * float(np.var(group, ddof=1)) for group in groups if len(group) > 1) / freedom, freedom


def sentence_variance(ours: Table, theirs: Table) -> float:
    """The variance of the mean difference that is due to the choice of sentences.

    It is the mean covariance, over the resamples, between the differences of two unlike pairs of runs. The variance of
    one pair would count again what seeds and sentences do together, which is in the variance between seeds.
    """
    n, covariance = len(ours), np.cov(np.concatenate((ours, theirs)))

    def mean_of_unlike(part: Float[np.ndarray, "_ _"]) -> float:
        return float(part.sum() - np.trace(part)) / (part.size - min(part.shape))

    own, other, both = covariance[:n, :n], covariance[n:, n:], covariance[:n, n:]
    return max(0.0, mean_of_unlike(own) + mean_of_unlike(other) - 2 * mean_of_unlike(both))


def intervals(
    groups: Sequence[Sequence[float]],
    baseline: Sequence[float],
    sampled: Sequence[Table] = (),
    level: float = LEVEL,
) -> list[Interval]:
    """The interval of each group against the baseline.

    Args:
        groups, baseline: the scores of two or more seeds each. Without a baseline the scores are differences already,
            each of one model from itself.
        sampled: for each group, and at last for the baseline if there is one, their scores on the resamples; without
            them the sentences are taken as they are, and this is Dunnett's test.
        level: the probability with which all intervals hold together.
    """
    from scipy.stats import t  # scipy.stats takes most of a second to import

    variance, seeds_freedom = pooled_variance([*groups, baseline] if baseline else groups)
    found = []
    for number, group in enumerate(groups):
        of_seeds = variance * (1 / len(group) + (1 / len(baseline) if baseline else 0))
        of_sentences = 0.0
        if sampled:
            theirs = sampled[-1] if baseline else np.zeros_like(sampled[number])
            of_sentences = sentence_variance(sampled[number], theirs)
        total = of_seeds + of_sentences
        freedom = min(LARGE, seeds_freedom * (total / of_seeds) ** 2) if of_seeds else LARGE  # Satterthwaite
        error, factor = np.sqrt(total), critical(len(groups), float(f"{freedom:.3g}"), level)
        delta = float(np.mean(group) - (np.mean(baseline) if baseline else 0))
        detectable = float((factor + t.ppf(POWER, freedom)) * error)
        found.append(Interval(delta, float(delta - factor * error), float(delta + factor * error), detectable))
    return found


@cache
def critical(rows: int, freedom: float, level: float = LEVEL) -> float:
    """How many standard errors the largest of so many differences, which share a baseline, stays within.

    It is the quantile of a multivariate t with correlation 1/2: differences are independent where the baseline and the
    estimated deviation are known, so the probability is an integral over these two (Dunnett 1955).
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr
    from scipy.stats import chi2

    of_baseline, weights = np.polynomial.hermite_e.hermegauss(32)
    fraction, times = np.polynomial.legendre.leggauss(128)  # of the distribution of the deviation, from -1 to 1
    deviation = np.sqrt(chi2.ppf((1 + fraction) / 2, freedom) / freedom)[:, None]

    def excess(factor: float) -> float:
        reach = np.sqrt(2) * factor * deviation
        within = (ndtr(of_baseline + reach) - ndtr(of_baseline - reach)) ** rows
        return float(times @ within @ weights / (times.sum() * weights.sum())) - level

    root: Any = brentq(excess, 1, 1_000, xtol=1e-6)
    return float(root)


def variances_differ(groups: Sequence[Sequence[float]]) -> float | None:
    """p of Bartlett's test for equal variances, if it is below 0.05."""
    from scipy.stats import bartlett

    spread = [group for group in groups if np.ptp(group) > 0]
    p = float(bartlett(*spread).pvalue) if len(spread) > 1 else 1.0
    return p if p < 1 - LEVEL else None
