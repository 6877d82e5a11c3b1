"""Buckets of source length part the sentences, and are called by their bounds."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rope_mt.study.compare.buckets import bucket_name, default_bounds, in_buckets

bounds = st.sets(st.integers(1, 45), max_size=5).map(sorted)


@given(lengths=st.lists(st.integers(0, 60), max_size=30), upto=bounds)
def test_every_sentence_is_in_the_one_bucket_of_its_length(lengths, upto):
    found = in_buckets(lengths, upto)
    assert sorted(i for bucket in found for i in bucket) == [*range(len(lengths))]
    for (above, high), bucket in zip(pairwise([-1, *upto, 99]), found, strict=True):  # 0 tokens are in the first
        assert bucket == [i for i, n in enumerate(lengths) if above < n <= high]


def test_a_bucket_is_called_by_its_bounds():
    names = [bucket_name(low + 1, high) for low, high in pairwise([0, 14, 15, 56])]
    assert names == ["1-14", "15", "16-56"]
    assert bucket_name(57, None) == ">56"


def test_buckets_stand_around_what_was_trained_on_where_the_test_set_goes_beyond_it():
    assert default_bounds(cap=14, longest=60) == [7, 14, 21, 28, 42]
    assert default_bounds(cap=14, longest=25) == [7, 14, 21]
    assert default_bounds(cap=256, longest=45) == [10, 20, 30, 40]
