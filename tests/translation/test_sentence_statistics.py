"""Sufficient statistics: sacreBLEU gives any part of a test set the same scores from its text."""

import math
import random

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from rope_mt.errors import UserError
from rope_mt.translation.sentence_statistics import COLUMNS, HEADER, SCORES, SentenceStatistics

WORDS = ["der", "Hund", "sieht", "eine", "kleine", "Katze", "im", "alten", "Garten", "und", "schläft"]

sentence = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
sentences = st.lists(st.tuples(st.integers(0, 40), sentence, sentence), min_size=1, max_size=20)


@settings(deadline=None, max_examples=25)
@given(rows=sentences, seed=st.integers(0, 99))
def test_any_part_has_the_scores_that_its_text_has(rows, seed, tmp_path_factory):
    lengths, hyps, refs = map(list, zip(*rows, strict=True))
    rng = random.Random(seed)
    losses = [(rng.uniform(0, 90), rng.randint(1, 40)) for _ in rows]
    path = tmp_path_factory.mktemp("statistics") / "test.counts"
    written = SentenceStatistics.of(lengths, hyps, refs, losses, documents=[i // 2 for i in range(len(rows))])
    written.write(path)
    statistics = SentenceStatistics.read(path)
    np.testing.assert_allclose(statistics.table, written.table, rtol=1e-7)
    assert statistics.lengths == lengths
    for part in (None, rng.sample(range(len(rows)), (len(rows) + 1) // 2)):
        numbers = range(len(rows)) if part is None else part
        text = [hyps[i] for i in numbers], [[refs[i] for i in numbers]]
        assert statistics.score("bleu", part) == pytest.approx(sacrebleu.corpus_bleu(*text).score)
        assert statistics.score("chrf", part) == pytest.approx(sacrebleu.corpus_chrf(*text).score)
        nats, tokens = (sum(losses[i][side] for i in numbers) for side in (0, 1))
        assert statistics.score("loss", part) == pytest.approx(nats / tokens)


@settings(deadline=None, max_examples=25)
@given(rows=sentences)
def test_sums_of_many_samples_have_the_scores_that_sacrebleu_gives_each(rows):
    _, hyps, refs = map(list, zip(*rows, strict=True))
    sums = SentenceStatistics.of([0] * len(hyps), hyps, refs).table.cumsum(axis=0)
    for name, metric in (("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)):
        of_first = [metric(hyps[:n], [refs[:n]]).score for n in range(1, len(hyps) + 1)]
        assert SCORES[name](sums) == pytest.approx(of_first)


def test_a_damaged_file_is_refused_in_one_line_and_a_loss_may_be_missing(tmp_path):
    path = tmp_path / "test.counts"
    with pytest.raises(UserError, match=r"^cannot read .*test.counts: No such file or directory$"):
        SentenceStatistics.read(path)
    row = "\t".join([*"50", "nan", "nan", *"1" * (len(COLUMNS) - 4)])
    for text in ("", f"{row}\n", f"{HEADER}\n{row}\t1\n", f"{HEADER}\n{row[:-1]}x\n", "é\n", HEADER):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"^[^\n]*test.counts is damaged[^\n]*$"):
            SentenceStatistics.read(path)
    path.write_text(f"{HEADER}\n{row}\n", encoding="utf-8")
    assert math.isnan(SentenceStatistics.read(path).score("loss"))


def test_without_the_penalty_a_shortened_hypothesis_is_as_good_as_its_words():
    statistics = SentenceStatistics.of([1, 1], ["a b c d", "e f g h"], ["a b c d", "e f g h i j k l"])
    assert statistics.score("bleu") == pytest.approx(100 * math.exp(1 - 12 / 8))
    assert statistics.score("unpenalised bleu") == pytest.approx(100)
    assert [statistics.score(name, [0]) for name in ("bleu", "unpenalised bleu")] == pytest.approx([100, 100])
    assert SentenceStatistics.of([1], [""], ["a"]).score("unpenalised bleu") == 0


def test_the_length_ratio_is_that_of_words_and_no_number_for_empty_references():
    assert SentenceStatistics.of([1, 1], ["a b.", "c"], ["a b c.", "d"]).score("length ratio") == 4 / 5
    assert not math.isfinite(SentenceStatistics.of([1], ["a"], [""]).score("length ratio"))
