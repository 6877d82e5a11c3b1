"""What BLEU counts in each sentence: any part of a test set is scored from it as sacreBLEU scores its text."""

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
sentences = st.lists(st.tuples(st.integers(0, 40), sentence, sentence), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(rows=sentences, seed=st.integers(0, 99))
def test_any_part_has_the_score_that_its_text_has(rows, seed, tmp_path_factory):
    lengths, hyps, refs = map(list, zip(*rows, strict=True))
    path = tmp_path_factory.mktemp("counts") / "test.counts"
    BleuStatistics.of(lengths, hyps, refs).write(path)
    found = BleuStatistics.read(path)
    assert found == BleuStatistics.of(lengths, hyps, refs)
    assert found.lengths == lengths
    assert found.bleu() == pytest.approx(sacrebleu.corpus_bleu(hyps, [refs]).score)
    part = random.Random(seed).sample(range(len(rows)), (len(rows) + 1) // 2)
    theirs = sacrebleu.corpus_bleu([hyps[i] for i in part], [[refs[i] for i in part]]).score
    assert found.bleu(part) == pytest.approx(theirs)


@settings(deadline=None, max_examples=60)
@given(rows=sentences)
def test_sums_of_many_samples_have_the_scores_that_sacrebleu_gives_each(rows):
    _, hyps, refs = map(list, zip(*rows, strict=True))
    counted = np.array(BleuStatistics.of([0] * len(hyps), hyps, refs).rows, dtype=np.float64)
    firsts = [sacrebleu.corpus_bleu(hyps[:n], [refs[:n]]).score for n in range(1, len(hyps) + 1)]
    assert bleu_of_sums(counted.cumsum(axis=0)) == pytest.approx(firsts)


def test_a_file_that_counts_something_else_is_one_line(tmp_path):
    path = tmp_path / "test.counts"
    with pytest.raises(UserError, match=r"^cannot read .*test.counts: No such file or directory$"):
        BleuStatistics.read(path)
    row = "\t".join("53421003210")
    for text in (
        "",
        f"{row}\n",
        f"{HEADER}\n{row}\t1\n",
        "é\n",
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"^[^\n]*test.counts is damaged[^\n]*$"):
            BleuStatistics.read(path)
    path.write_text(f"{HEADER}\n{row}\n", encoding="utf-8")
    assert BleuStatistics.read(path).rows == [[3, 4, 2, 1, 0, 0, 3, 2, 1, 0]]


def test_what_breaks_off_is_as_good_without_the_penalty_as_what_there_is_of_it():
    found = BleuStatistics.of([1, 1], ["a b c d", "e f g h"], ["a b c d", "e f g h i j k l"])
    assert found.bleu() == pytest.approx(100 * math.exp(1 - 12 / 8))
    assert found.bleu_unpenalised() == pytest.approx(100)
    assert found.bleu_unpenalised([0]) == pytest.approx(found.bleu([0])) == pytest.approx(100)
    assert BleuStatistics.of([1], [""], ["a"]).bleu_unpenalised() == 0


def test_the_ratio_of_lengths_is_that_of_words_and_none_where_references_have_none():
    assert BleuStatistics.of([1, 1], ["a b.", "c"], ["a b c.", "d"]).length_ratio() == 4 / 5
    assert math.isnan(BleuStatistics.of([1], ["a"], [""]).length_ratio())
