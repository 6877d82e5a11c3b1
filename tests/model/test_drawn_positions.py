"""Positions that are drawn: their distribution, and that a model takes them for each sentence."""

from itertools import combinations

import torch

from rope_mt.config.position import PositionsConfig
from rope_mt.model.drawn_positions import drawn, draws

N = 12_000


def draw(name: str, reach: int, lengths: list[int], width: int) -> torch.Tensor:
    cfg = PositionsConfig(name, reach)
    uniform = torch.rand(len(lengths), draws(cfg), generator=torch.Generator().manual_seed(0))
    return drawn(cfg, uniform, torch.tensor(lengths), width)


def assert_equally_frequent(counts: torch.Tensor) -> None:
    """Within five standard deviations of a count of N draws."""
    share = 1 / len(counts)
    assert ((counts - N * share).abs() < 5 * (N * share * (1 - share)) ** 0.5).all()


def test_shifted_positions_are_consecutive_from_each_first_one_equally_often():
    positions = draw("shifted", 9, [3] * N, 4)
    assert (positions.diff() == 1).all()
    assert_equally_frequent(positions[:, 0].bincount(minlength=10))


def test_random_positions_are_each_ascending_choice_equally_often():
    positions = draw("random", 5, [2] * N, 2)
    choices = [*combinations(range(5), 2)]
    assert_equally_frequent(torch.tensor([(positions == torch.tensor(choice)).all(1).sum() for choice in choices]))


def test_random_positions_depend_on_the_length_of_the_sentence_and_not_on_its_padding():
    lengths = [2, 7, 40, 1]
    positions = draw("random", 50, lengths, 45)
    for row, length in zip(positions, lengths, strict=True):
        assert (row[:length].diff() > 0).all()
        assert 0 <= row[0] <= row[-1] == 49
    assert torch.equal(positions[:, :40], draw("random", 50, lengths, 40))
