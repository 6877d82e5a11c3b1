"""sacreBLEU's two paired tests of runs against a baseline, with all samples scored at once and several pairs as one.

The samples, the scores and what is counted are sacreBLEU's, which scores the samples one by one: a comparison of 18
runs on five parts of a test set asks for two million scores.

sacreBLEU tests one output against one other. The outputs of several seeds translate the same sentences, so here a
sample is one draw of sentences for all of them, and what is tested is the mean difference of the pairs: how far it is
that of these sentences, whatever the seeds have in common. Of one pair it is sacreBLEU's test.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.bleu import BLEU

from rope_mt.translation.bleu_statistics import bleu_of_sums

# sacreBLEU's own
SEED = 12345
RESAMPLES = 1_000
TRIALS = 10_000

# Trials at once, which take 25 MB for the 3,003 sentences of newstest2014. A multiple of 32: numpy takes bits from
# words of 32, so that drawn in such parts they are those of a single draw.
AT_ONCE = 1_024
ROUNDING = 1e-9  # of BLEU: two samples of one score may differ by as much as this

Rows = Float[np.ndarray, "sentences 10"]


@dataclass(frozen=True)
class Sampled:
    """What BLEU counts in a run's translations, summed over the sentences of each sample."""

    rows: Rows
    resampled: Float[np.ndarray, "resamples 10"]  # sentences drawn with replacement
    swapped: Float[np.ndarray, "trials 10"]  # those that change sides with the partner's


@dataclass(frozen=True)
class OverSentences:
    """One run against one of the baseline, or the mean of several such pairs."""

    delta: float  # BLEU, run minus baseline
    bootstrap: float  # p-values
    randomisation: float


def samples(runs: Sequence[Sequence[Sequence[int]]]) -> list[Sampled]:
    """The same samples of the sentences for every run, with sacreBLEU's numbers of them and its seed.

    Args:
        runs: what BLEU counts in each sentence, the rows of `BleuStatistics`; all of one test set.
    """
    tables = [np.array(rows, dtype=np.float64) for rows in runs]
    n = len(tables[0])
    drawn = np.random.default_rng(SEED).choice(n, size=(RESAMPLES, n))
    times = np.stack([np.bincount(sample, minlength=n) for sample in drawn]).astype(np.float64)
    rng = np.random.default_rng(SEED)
    swapped: list[list[np.ndarray]] = [[] for _ in tables]
    for first in range(0, TRIALS, AT_ONCE):
        some = rng.integers(2, size=(min(AT_ONCE, TRIALS - first), n), dtype=bool).astype(np.float64)
        for rows, sums in zip(tables, swapped, strict=True):
            sums.append(some @ rows)
    return [Sampled(rows, times @ rows, np.concatenate(sums)) for rows, sums in zip(tables, swapped, strict=True)]


def over_sentences(baselines: Sequence[Sampled], systems: Sequence[Sampled]) -> OverSentences:
    """The mean difference of the k-th system from the k-th baseline, and how likely the choice of sentences makes it.

    By bootstrap resampling (Koehn 2004, as `sacrebleu --paired-bs` has it, which counts the samples beyond the
    difference on one side alone) and by approximate randomisation (Riezler & Maxwell 2005, as `sacrebleu --paired-ar`,
    which counts both sides, and so has about twice the p).

    sacreBLEU counts the samples that differ by more than what was observed, and leaves out those that differ by just as
    much: so two equal outputs have its smallest p-value, and one sentence alone has it too. Here equal scores have p 1,
    and no p is below 2^(1-n), where n sentences differ in their n-gram counts: of the 2^n ways to swap them, the one
    observed and its mirror image both differ that much. From n = 15 on this changes nothing.
    """
    observed, resampled, swapped, unlike = [], [], [], []
    for theirs, ours in zip(baselines, systems, strict=True):
        our_sum, their_sum = ours.rows.sum(axis=0), theirs.rows.sum(axis=0)
        moved = ours.swapped - theirs.swapped
        observed.append(np.subtract(*bleu_of_sums(np.stack([our_sum, their_sum]))))
        resampled.append(bleu_of_sums(ours.resampled) - bleu_of_sums(theirs.resampled))
        swapped.append(bleu_of_sums(our_sum - moved) - bleu_of_sums(their_sum + moved))
        unlike.append(np.any(ours.rows != theirs.rows, axis=1))
    delta = float(np.mean(observed))
    differences = np.abs(np.mean(resampled, axis=0))
    least = 1.0 if delta == 0 else 2.0 ** (1 - int(np.any(unlike, axis=0).sum()))
    found = (differences - differences.mean(), np.abs(np.mean(swapped, axis=0)))
    return OverSentences(delta, *(max(least, _p(beyond, delta)) for beyond in found))


def signatures() -> list[str]:
    """sacreBLEU's, of bootstrap and randomisation."""
    metric = BLEU()
    metric.num_refs = 1
    found = []
    for kind, n_samples in (("bs", RESAMPLES), ("ar", TRIALS)):
        signature = metric.get_signature()
        signature.update("seed", str(SEED))
        signature.update(kind, n_samples)
        found.append(str(signature))
    return found


def _p(found: Float[np.ndarray, " samples"], delta: float) -> float:
    """The share of samples in which more than the observed difference was found, with the observed one among them."""
    return (int(np.sum(found > abs(delta) + ROUNDING)) + 1) / (len(found) + 1)
