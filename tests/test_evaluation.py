"""Scores by the length of the source: buckets part the sentences, and each is scored as if it were a test set."""

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from rope_mt.evaluation import score_by_length

WORDS = ["der", "Hund", "sieht", "eine", "kleine", "Katze", "im", "alten", "Garten", "und", "schläft"]

sentence = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
sentences = st.lists(st.tuples(st.integers(0, 40), sentence, sentence), min_size=1, max_size=30)
bounds = st.sets(st.integers(1, 45), max_size=5).map(sorted)


@settings(deadline=None, max_examples=60)
@given(rows=sentences, upto=bounds)
def test_buckets_part_the_sentences_and_score_like_sacrebleu_on_each_part(rows, upto):
    lengths, hyps, refs = map(list, zip(*rows, strict=True))
    buckets = score_by_length(lengths, hyps, refs, upto)
    assert sum(bucket.sentences for bucket in buckets) == len(rows)
    assert [bucket.high for bucket in buckets] == [*upto, None]
    for i, bucket in enumerate(buckets):
        above = upto[i - 1] if i else -1  # a source without a token is in the first
        part = [(hyp, ref) for n, hyp, ref in rows if above < n and (i == len(upto) or n <= upto[i])]
        assert bucket.sentences == len(part)
        if not part:
            assert bucket.scores is None
            continue
        assert bucket.scores is not None
        hyp, ref = map(list, zip(*part, strict=True))
        assert bucket.scores.bleu == pytest.approx(sacrebleu.corpus_bleu(hyp, [ref]).score)
        assert bucket.scores.chrf == pytest.approx(sacrebleu.corpus_chrf(hyp, [ref]).score)


def test_a_bucket_is_called_by_its_bounds():
    buckets = score_by_length([3], ["a b c d"], ["a b c d"], [14, 15, 56])
    assert [bucket.name for bucket in buckets] == ["1-14", "15", "16-56", ">56"]


@pytest.mark.parametrize("upto", [[0, 5], [5, 5], [7, 5]])
def test_bounds_that_do_not_rise_are_refused(upto):
    with pytest.raises(ValueError, match="must rise"):
        score_by_length([3], ["a"], ["a"], upto)
