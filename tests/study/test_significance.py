"""When a difference counts: small samples, equal outputs, several tests of one question, and noise between seeds."""

import json
import math
import random
import subprocess
import sys
from statistics import fmean, variance
from typing import Any

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest
from scipy.stats import t

from rope_mt.counts import Counts
from rope_mt.study.paired_tests import signatures
from rope_mt.study.significance import Difference, Pair, combined, paired, pairs_by_seed, welch

WORDS = ["am", "Abend", "sieht", "der", "Hund", "die", "kleine", "Katze", "im", "Garten", "und", "lacht", "laut"]


def sentences(n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 14))) + "." for _ in range(n)]


def worse(lines: list[str], rate: float, seed: int) -> list[str]:
    """The lines with a part of their words left out."""
    rng = random.Random(seed)
    return [" ".join(word for word in line.split() if rng.random() >= rate) for line in lines]


def counted(lines: list[str], references: list[str]) -> list[list[int]]:
    return Counts.of([0] * len(lines), lines, references).rows


def sacrebleu(tmp_path, references: list[str], systems: list[list[str]], flag: str) -> list[float]:
    """p-values of the sacrebleu command's paired test, the first system being its baseline."""
    files = []
    for name, lines in [("ref", references), *((str(i), system) for i, system in enumerate(systems))]:
        files.append(tmp_path / name)
        files[-1].write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", *map(str, [files[0], "-i", *files[1:]]), flag, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [system["BLEU"]["p_value"] for system in json.loads(done.stdout)[1:]]


@pytest.mark.parametrize("n", [21, 60])
def test_p_values_are_those_of_the_sacrebleu_command(n, tmp_path):
    references = sentences(n)
    systems = [worse(references, rate, seed) for seed, rate in enumerate((0.10, 0.12, 0.09, 0.16))]
    first, *others = (counted(system, references) for system in systems)
    pairs = paired(first, others)
    assert [pair.bootstrap for pair in pairs] == sacrebleu(tmp_path, references, systems, "--paired-bs")
    assert [pair.randomisation for pair in pairs] == sacrebleu(tmp_path, references, systems, "--paired-ar")
    assert len({pair.bootstrap for pair in pairs}) == 3  # not all at an end of the scale


def test_the_signatures_are_those_of_sacrebleu():
    systems: Any = [("ours", ["a b c d e"]), ("theirs", ["a b c d f"])]
    tests = [PairedTest(systems, {"BLEU": BLEU()}, [["a b c d e"]], test_type=kind) for kind in ("bs", "ar")]
    assert signatures() == [str(test()[0]["BLEU"]) for test in tests]


def test_equal_outputs_are_within_noise_with_p_1():
    references = sentences(20)
    ours = counted(worse(references, 0.2, seed=1), references)
    [pair] = paired(ours, [ours])
    assert pair == Pair(0.0, 1.0, 1.0)
    assert Difference([pair], None).verdict == "within noise"


@pytest.mark.parametrize("unlike", [1, 3, 5])
def test_no_p_is_smaller_than_so_few_sentences_allow(unlike):
    """Of 2^n ways to swap n sentences two, the one observed and its mirror image, differ as much as it does."""
    references = sentences(20)
    theirs = worse(references, 0.3, seed=1)
    ours = [*references[:unlike], *theirs[unlike:]]
    [pair] = paired(counted(theirs, references), [counted(ours, references)])
    assert pair.delta > 0
    assert min(pair.bootstrap, pair.randomisation) >= 2.0 ** (1 - unlike)
    assert Difference([pair], None).verdict == "within noise"


def test_sentences_that_differ_in_words_alone_and_in_no_count_are_not_evidence():
    references = sentences(20)
    theirs = worse(references, 0.3, seed=1)
    theirs[1:] = ["falsch"] * 19
    ours = [references[0], *["verkehrt"] * 19]
    [pair] = paired(counted(theirs, references), [counted(ours, references)])
    assert (pair.bootstrap, pair.randomisation) == (1.0, 1.0)


def test_p_values_of_several_pairs_are_twice_their_mean_and_never_above_1():
    assert combined([0.03]) == 0.03
    assert combined([0.01, 0.05, 0.03]) == pytest.approx(0.06)
    assert combined([0.9, 0.8]) == 1.0


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
    ("pairs", "welch_p", "verdict"),
    [
        ([Pair(1.0, 0.01, 0.02)], None, "better"),
        ([Pair(-1.0, 0.01, 0.02)], None, "worse"),
        ([Pair(1.0, 0.05, 0.02)], None, "within noise"),
        ([Pair(1.0, 0.01, 0.06)], None, "within noise"),
        ([Pair(1.0, 0.01, 0.01)], 0.05, "within noise"),
        ([Pair(1.0, 0.01, 0.01)], 0.04, "better"),
        ([Pair(1.0, 0.02, 0.02), Pair(1.0, 0.04, 0.04)], 0.01, "within noise"),  # together 0.06
        ([Pair(3.0, 0.01, 0.01), Pair(-1.0, 0.01, 0.01)], 0.01, "within noise"),  # one the other way
    ],
)
def test_better_or_worse_takes_every_test(pairs, welch_p, verdict):
    assert Difference(pairs, welch_p).verdict == verdict
