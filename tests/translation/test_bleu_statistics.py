"""Sufficient statistics of BLEU: sacreBLEU gives any part of a test set the same score from its text."""

import math
import random

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from rope_mt.errors import UserError
from rope_mt.translation.bleu_statistics import HEADER, BleuStatistics, bleu_of_sums

WORDS = ["der", "Hund", "sieht", "eine", "kleine", "Katze", "im", "alten", "Garten", "und", "schläft"]

sentence = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
sentences = st.lists(st.tuples(st.integers(0, 40), sentence, sentence), min_size=1, max_size=20)


@settings(deadline=None, max_examples=25)
@given(rows=sentences, seed=st.integers(0, 99))
def test_any_part_has_the_score_that_its_text_has(rows, seed, tmp_path_factory):
    lengths, hyps, refs = map(list, zip(*rows, strict=True))
    path = tmp_path_factory.mktemp("statistics") / "test.counts"
    BleuStatistics.of(lengths, hyps, refs).write(path)
    statistics = BleuStatistics.read(path)
    assert statistics == BleuStatistics.of(lengths, hyps, refs)
    assert statistics.lengths == lengths
    assert statistics.bleu() == pytest.approx(sacrebleu.corpus_bleu(hyps, [refs]).score)
    part = random.Random(seed).sample(range(len(rows)), (len(rows) + 1) // 2)
    of_text = sacrebleu.corpus_bleu([hyps[i] for i in part], [[refs[i] for i in part]]).score
    assert statistics.bleu(part) == pytest.approx(of_text)


@settings(deadline=None, max_examples=25)
@given(rows=sentences)
def test_sums_of_many_samples_have_the_scores_that_sacrebleu_gives_each(rows):
    _, hyps, refs = map(list, zip(*rows, strict=True))
    statistics = np.array(BleuStatistics.of([0] * len(hyps), hyps, refs).rows, dtype=np.float64)
    of_first = [sacrebleu.corpus_bleu(hyps[:n], [refs[:n]]).score for n in range(1, len(hyps) + 1)]
    assert bleu_of_sums(statistics.cumsum(axis=0)) == pytest.approx(of_first)


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "test.counts"
    with pytest.raises(UserError, match=r"^cannot read .*test.counts: No such file or directory$"):
        BleuStatistics.read(path)
    row = "\t".join("53421003210")
    for text in ("", f"{row}\n", f"{HEADER}\n{row}\t1\n", f"{HEADER}\n{row[:-1]}x\n", "é\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"^[^\n]*test.counts is damaged[^\n]*$"):
            BleuStatistics.read(path)
    path.write_text(f"{HEADER}\n{row}\n", encoding="utf-8")
    assert BleuStatistics.read(path).rows == [[3, 4, 2, 1, 0, 0, 3, 2, 1, 0]]


def test_without_the_penalty_a_shortened_hypothesis_is_as_good_as_its_words():
    statistics = BleuStatistics.of([1, 1], ["a b c d", "e f g h"], ["a b c d", "e f g h i j k l"])
    assert statistics.bleu() == pytest.approx(100 * math.exp(1 - 12 / 8))
    assert statistics.bleu_unpenalised() == pytest.approx(100)
    assert statistics.bleu_unpenalised([0]) == pytest.approx(statistics.bleu([0])) == pytest.approx(100)
    assert BleuStatistics.of([1], [""], ["a"]).bleu_unpenalised() == 0


def test_the_length_ratio_is_that_of_words_and_nan_for_empty_references():
    assert BleuStatistics.of([1, 1], ["a b.", "c"], ["a b c.", "d"]).length_ratio() == 4 / 5
    assert math.isnan(BleuStatistics.of([1], ["a"], [""]).length_ratio())
