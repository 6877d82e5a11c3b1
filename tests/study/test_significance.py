"""When a difference counts: small samples, equal outputs, several pairs of runs, and noise between seeds."""

import math
import random
from itertools import product
from statistics import fmean, variance
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest
from scipy.stats import t

from rope_mt.study.compare.significance import (
    RESAMPLES,
    SEED,
    Difference,
    OverSentences,
    over_sentences,
    pairs_by_seed,
    samples,
    signatures,
    welch,
)
from rope_mt.translation.sentence_statistics import SentenceStatistics

WORDS = ["am", "Abend", "sieht", "der", "Hund", "die", "kleine", "Katze", "im", "Garten", "und", "lacht", "laut"]


def sentences(n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 14))) + "." for _ in range(n)]


def worse(lines: list[str], rate: float, seed: int) -> list[str]:
    """The lines with a part of their words left out."""
    rng = random.Random(seed)
    return [" ".join(word for word in line.split() if rng.random() >= rate) for line in lines]


def counted(lines: list[str], references: list[str]) -> np.ndarray:
    return SentenceStatistics.of([0] * len(lines), lines, references).table


def against(baseline: list[str], system: list[str], references: list[str]) -> OverSentences:
    """One output against another."""
    theirs, ours = samples([counted(baseline, references), counted(system, references)])
    return over_sentences([theirs], [ours])


def bleu(rows: Any) -> float:
    return SentenceStatistics(np.array(rows)).score("bleu")


def test_p_values_and_signatures_are_those_of_sacrebleu(monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    references = sentences(40)
    systems = [worse(references, rate, seed) for seed, rate in enumerate((0.10, 0.12, 0.09, 0.16))]
    first, *others = samples([counted(system, references) for system in systems])
    pairs = [over_sentences([first], [other]) for other in others]
    named: Any = [(f"system {i}", system) for i, system in enumerate(systems)]
    for kind, signature in zip(("bs", "ar"), signatures(), strict=True):
        theirs, results = PairedTest(named, {"BLEU": BLEU(references=[references])}, None, test_type=kind)()
        assert signature == str(theirs["BLEU"])
        ours = [pair.bootstrap if kind == "bs" else pair.randomisation for pair in pairs]
        assert ours == [result.p_value for result in results["BLEU"][1:]]
    assert len({pair.bootstrap for pair in pairs}) == 3  # not all at an end of the scale


def test_equal_outputs_are_within_noise_with_p_1():
    references = sentences(20)
    ours = worse(references, 0.2, seed=1)
    found = against(ours, ours, references)
    assert found == OverSentences(0.0, 1.0, 1.0)
    assert Difference(found, [found], None).verdict == "within noise"


@pytest.mark.parametrize("unlike", [1, 3, 5])
def test_no_p_is_smaller_than_so_few_sentences_allow(unlike):
    """Of 2^n ways to swap n sentences two, the one observed and its mirror image, differ as much as it does."""
    references = sentences(20)
    theirs = worse(references, 0.3, seed=1)
    ours = [*references[:unlike], *theirs[unlike:]]
    found = against(theirs, ours, references)
    assert found.delta > 0
    assert min(found.bootstrap, found.randomisation) >= 2.0 ** (1 - unlike)
    assert Difference(found, [found], None).verdict == "within noise"


def test_sentences_that_differ_in_words_alone_and_in_no_count_are_not_evidence():
    references = sentences(20)
    theirs = worse(references, 0.3, seed=1)
    theirs[1:] = ["falsch"] * 19
    ours = [references[0], *["verkehrt"] * 19]
    found = against(theirs, ours, references)
    assert (found.bootstrap, found.randomisation) == (1.0, 1.0)


@pytest.fixture(scope="module")
def seeds() -> tuple[list[Any], list[Any]]:
    """Statistics of three outputs of a baseline, and of three of a system that drops fewer words, on 10 sentences."""
    references = sentences(10)
    theirs, ours = (
        [counted(worse(references, rate, seed + first), references) for seed in range(3)]
        for rate, first in ((0.25, 0), (0.20, 50))
    )
    return theirs, ours


def test_several_pairs_are_tested_by_swapping_a_sentence_in_all_of_them(seeds):
    """The share of all 2^10 ways to swap in which their mean difference is larger, counted one by one."""
    theirs, ours = seeds
    sampled = samples([*theirs, *ours])
    found = over_sentences(sampled[:3], sampled[3:])

    def difference(swap: tuple[int, ...]) -> float:
        both = [
            ([(b, a)[s][i] for i, s in enumerate(swap)], [(a, b)[s][i] for i, s in enumerate(swap)])
            for a, b in zip(theirs, ours, strict=True)
        ]
        return fmean(bleu(one) - bleu(other) for one, other in both)

    observed = difference((0,) * 10)
    larger = sum(abs(difference(swap)) > abs(observed) + 1e-9 for swap in product((0, 1), repeat=10))
    assert found.delta == pytest.approx(observed)
    assert 0.02 < larger / 2**10 < 0.98
    assert found.randomisation == pytest.approx(larger / 2**10, abs=0.015)  # three deviations of 10,000 trials


def test_several_pairs_are_resampled_with_the_same_sentences_in_all_of_them(seeds):
    theirs, ours = seeds
    sampled = samples([*theirs, *ours])
    differences = []
    for drawn in np.random.default_rng(SEED).choice(10, size=(RESAMPLES, 10)):
        both = ([[rows[i] for i in drawn] for rows in side] for side in (ours, theirs))
        differences.append(abs(fmean(map(bleu, next(both))) - fmean(map(bleu, next(both)))))
    delta = fmean(map(bleu, ours)) - fmean(map(bleu, theirs))
    larger = sum(difference - fmean(differences) > abs(delta) + 1e-9 for difference in differences)
    assert 10 < larger < RESAMPLES / 2
    assert over_sentences(sampled[:3], sampled[3:]).bootstrap == (larger + 1) / (RESAMPLES + 1)


def test_seeds_that_say_the_same_are_no_more_evidence_than_one(seeds):
    theirs, ours = samples([seeds[0][0], seeds[1][0]])
    once, thrice = over_sentences([theirs], [ours]), over_sentences([theirs] * 3, [ours] * 3)
    assert thrice.delta == pytest.approx(once.delta)
    assert (thrice.bootstrap, thrice.randomisation) == (once.bootstrap, once.randomisation)


def test_seeds_that_agree_on_other_sentences_are_more_evidence_than_each():
    references = sentences(60)
    theirs, ours = (
        samples([counted(worse(references, rate, seed), references) for seed in seeds])
        for rate, seeds in ((0.14, range(4)), (0.11, range(10, 14)))
    )
    alone = [over_sentences([one], [other]).randomisation for one, other in zip(theirs, ours, strict=True)]
    assert over_sentences(theirs, ours).randomisation < min(alone)


def test_welch_is_the_formula_of_the_textbook():
    ours, theirs = [27.1, 27.9, 26.4], [25.0, 24.1, 25.9, 24.6]
    a, b = variance(ours) / 3, variance(theirs) / 4
    statistic = (fmean(ours) - fmean(theirs)) / math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / 2 + b**2 / 3)
    assert welch(ours, theirs) == pytest.approx(2 * t.sf(abs(statistic), freedom))
    assert welch(ours, [25.0]) is None


def test_welch_without_spread_is_its_limit():
    assert welch([20.0, 20.0], [20.0, 20.0]) == 1.0
    assert welch([20.0, 20.0], [21.0, 21.0]) == 0.0
    nearly = welch([20.0, 20.0 + 1e-13], [20.0, 20.0])  # scipy warns of it, and a warning is an error here
    assert nearly is not None
    assert 0 <= nearly <= 1


def test_runs_are_paired_by_seed_or_else_in_order():
    assert pairs_by_seed([3, 1, 2], [2, 3, 5]) == [(2, 2), (3, 3)]
    assert pairs_by_seed([7, 5], [1, 2, 3]) == [(5, 1), (7, 2)]


@pytest.mark.parametrize(
    ("together", "deltas", "welch_p", "verdict"),
    [
        (OverSentences(1.0, 0.01, 0.02), [1.0], None, "better"),
        (OverSentences(-1.0, 0.01, 0.02), [-1.0], None, "worse"),
        (OverSentences(1.0, 0.05, 0.02), [1.0], None, "within noise"),
        (OverSentences(1.0, 0.01, 0.06), [1.0], None, "within noise"),
        (OverSentences(1.0, 0.01, 0.01), [1.0], 0.05, "within noise"),
        (OverSentences(1.0, 0.01, 0.01), [1.0], 0.04, "better"),
        (OverSentences(1.0, 0.01, 0.01), [0.5, 1.5], 0.01, "better"),  # whatever each of them is alone
        (OverSentences(1.0, 0.01, 0.01), [3.0, -1.0], 0.01, "within noise"),  # one the other way
    ],
)
def test_better_or_worse_takes_every_test(together, deltas, welch_p, verdict):
    assert Difference(together, [OverSentences(delta, 0.2, 0.3) for delta in deltas], welch_p).verdict == verdict
