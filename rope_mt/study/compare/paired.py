"""One run against one other: sacreBLEU's paired bootstrap and paired approximate randomisation of BLEU.

Koehn 2004; Riezler & Maxwell 2005. Samples and p-values are those of `sacrebleu --paired-bs` and `--paired-ar`, from
sufficient statistics instead of text. They ask whether other sentences would say the same of these two models, and say
nothing of other seeds.
"""

import numpy as np
from jaxtyping import Float

from rope_mt.study.compare.intervals import SEED, draw_resamples
from rope_mt.translation.sentence_statistics import SentenceStatistics, bleu_of_sums

RESAMPLES, TRIALS = 1_000, 10_000  # sacreBLEU's own, as is the SEED
AT_ONCE = 1_024  # trials; a multiple of 32, so that draws in blocks are the bits of a single draw
ROUNDING = 1e-9  # BLEU points by which two samples with the same score may differ


def paired_tests(theirs: SentenceStatistics, ours: SentenceStatistics) -> dict[str, float]:
    """The p-values of both tests by their names, for two outputs of the same sentences; 1 where scores are equal."""
    a, b = theirs.table, ours.table
    n = len(a)
    delta = float(bleu_of_sums(ours.sums())[0] - bleu_of_sums(theirs.sums())[0])
    times = draw_resamples(range(n))[:RESAMPLES]
    resampled = np.abs(bleu_of_sums(times @ b) - bleu_of_sums(times @ a))
    rng, swapped = np.random.default_rng(SEED), []
    for first in range(0, TRIALS, AT_ONCE):
        moved = rng.integers(2, size=(min(AT_ONCE, TRIALS - first), n), dtype=bool).astype(float) @ (b - a)
        swapped.append(np.abs(bleu_of_sums(ours.sums() - moved) - bleu_of_sums(theirs.sums() + moved)))
    return {
        "bootstrap": _p(resampled - resampled.mean(), delta),
        "randomisation": _p(np.concatenate(swapped), delta),
    }


def _p(differences: Float[np.ndarray, " samples"], delta: float) -> float:
    """The fraction of samples that differ by more than was observed, with the observed one among them."""
    if delta == 0:
        return 1.0
    return (int(np.sum(differences > abs(delta) + ROUNDING)) + 1) / (len(differences) + 1)
