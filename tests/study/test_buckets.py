"""Buckets of source lengths: their bounds, and what is in each."""

import random
from itertools import pairwise

from rope_mt.study.compare.buckets import default_bounds, in_buckets


def test_every_sentence_is_in_the_one_bucket_of_its_length():
    rng = random.Random(0)
    for _ in range(100):
        lengths = rng.choices(range(61), k=rng.randrange(31))
        bounds = sorted(rng.sample(range(1, 46), rng.randrange(6)))
        ends = pairwise([-1, *bounds, 99])  # 0 tokens are in the first
        for (above, high), bucket in zip(ends, in_buckets(lengths, bounds), strict=True):
            assert bucket.numbers == [i for i, n in enumerate(lengths) if above < n <= high]
    assert [bucket.name for bucket in in_buckets([], [14, 15, 56])] == ["1-14", "15", "16-56", ">56"]


def test_buckets_stand_around_the_longest_training_source_where_the_test_set_goes_beyond_it():
    assert default_bounds(cap=14, longest=60) == [7, 14, 21, 28, 42]
    assert default_bounds(cap=14, longest=25) == [7, 14, 21]
    assert default_bounds(cap=256, longest=45) == [10, 20, 30, 40]
