"""The shapes of batches: few, and with as little padding as dropping them one after the other can leave."""

import itertools

import numpy as np
import pytest

from rope_mt.data.shapes import Shape, choose_shapes


def slots(src: np.ndarray, tgt: np.ndarray, shapes: list[Shape]) -> float:
    """Slots of all examples, each in the smallest shape that holds it; infinite if one finds none."""
    holding = [[s + t for s, t in shapes if s >= a and t >= b] for a, b in zip(src, tgt, strict=True)]
    return sum(min(sizes, default=np.inf) for sizes in holding)


@pytest.fixture(scope="module")
def lengths() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    src = random.integers(1, 25, 300)
    return src, np.maximum(1, src + random.integers(-4, 5, 300))


def test_each_shape_that_is_dropped_is_the_cheapest_to_drop(lengths):
    most = [40, 39, 38, 20, 19, 5, 4, 3, 2, 1]
    chosen = {n: choose_shapes(*lengths, n) for n in most}
    for more, fewer in itertools.pairwise(most):
        assert len(chosen[fewer]) == fewer
        assert {*chosen[fewer]} < {*chosen[more]}
        if more == fewer + 1:
            without_one = ([shape for shape in chosen[more] if shape != dropped] for dropped in chosen[more])
            assert slots(*lengths, chosen[fewer]) == min(slots(*lengths, shapes) for shapes in without_one)


def test_shapes_go_up_to_the_longest_source_with_the_longest_target(lengths):
    shapes = choose_shapes(*lengths, 9)
    assert [sum(shape) for shape in shapes] == sorted(sum(shape) for shape in shapes)
    assert shapes[-1] == tuple(side.max() for side in lengths)
    assert choose_shapes(*lengths, 1) == shapes[-1:]


def test_enough_shapes_leave_no_padding_of_short_examples_and_little_of_long_ones(lengths):
    src, tgt = lengths
    assert slots(src, tgt, choose_shapes(src, tgt, 1000)) == (src + tgt).sum()
    long = src * 2600, tgt * 2
    shapes = choose_shapes(*long, 1000)
    assert shapes[-1] == tuple(side.max() for side in long)
    assert 1 <= slots(*long, shapes) / sum(side.sum() for side in long) < 1 + 1 / 32
