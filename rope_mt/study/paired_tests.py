"""sacreBLEU's two paired tests of systems against a baseline, with all samples scored at once.

The samples, the scores and what is counted are sacreBLEU's, which scores the samples one by one: a comparison of 18
runs on five parts of a test set asks for two million scores.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.bleu import BLEU

from rope_mt.counts import bleu_of_sums

# sacreBLEU's own
SEED = 12345
RESAMPLES = 1_000
TRIALS = 10_000

# Trials at once, which take 25 MB for the 3,003 sentences of newstest2014. A multiple of 32: numpy takes bits from
# words of 32, so that drawn in such parts they are those of a single draw.
AT_ONCE = 1_024
ROUNDING = 1e-9  # of BLEU: two samples of one score may differ by as much as this

Rows = Float[np.ndarray, "sentences 10"]


def bootstrap(baseline: Rows, systems: Sequence[Rows]) -> list[float]:
    """The p-value of each system by bootstrap resampling (Koehn 2004, as `sacrebleu --paired-bs` has it).

    Args:
        baseline, systems: what BLEU counts in each sentence, the rows of `Counts`.
    """
    n = len(baseline)
    drawn = np.random.default_rng(SEED).choice(n, size=(RESAMPLES, n))
    times = np.stack([np.bincount(sample, minlength=n) for sample in drawn]).astype(np.float64)
    theirs = bleu_of_sums(times @ baseline)
    found = []
    for system in systems:
        differences = np.abs(bleu_of_sums(times @ system) - theirs)
        found.append(_p(differences - differences.mean(), baseline, system))
    return found


def randomisation(baseline: Rows, systems: Sequence[Rows]) -> list[float]:
    """The p-value of each system by approximate randomisation (Riezler & Maxwell 2005, as `sacrebleu --paired-ar`).

    Args:
        baseline, systems: as for `bootstrap`.
    """
    rng = np.random.default_rng(SEED)
    differences: list[list[np.ndarray]] = [[] for _ in systems]
    for first in range(0, TRIALS, AT_ONCE):
        some = rng.integers(2, size=(min(AT_ONCE, TRIALS - first), len(baseline)), dtype=bool).astype(np.float64)
        of_baseline = some @ baseline
        for system, found in zip(systems, differences, strict=True):
            swapped = some @ system - of_baseline
            one, other = bleu_of_sums(system.sum(axis=0) - swapped), bleu_of_sums(baseline.sum(axis=0) + swapped)
            found.append(np.abs(one - other))
    return [_p(np.concatenate(found), baseline, system) for found, system in zip(differences, systems, strict=True)]


def delta(baseline: Rows, system: Rows) -> float:
    """BLEU of the system minus that of the baseline."""
    ours, theirs = bleu_of_sums(np.stack([system.sum(axis=0), baseline.sum(axis=0)]))
    return float(ours - theirs)


def signatures() -> list[str]:
    """sacreBLEU's, of bootstrap and randomisation."""
    metric = BLEU()
    metric.num_refs = 1
    found = []
    for kind, samples in (("bs", RESAMPLES), ("ar", TRIALS)):
        signature = metric.get_signature()
        signature.update("seed", str(SEED))
        signature.update(kind, samples)
        found.append(str(signature))
    return found


def _p(found: np.ndarray, baseline: Rows, system: Rows) -> float:
    """The share of samples in which more than the observed difference was found, with the observed one among them."""
    more = int(np.sum(found > abs(delta(baseline, system)) + ROUNDING))
    return (more + 1) / (len(found) + 1)
