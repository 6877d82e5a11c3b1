"""Epochs: every example once in few shapes, other neighbours each time, the same for the same seed."""

import itertools
import lzma

import numpy as np
import pytest

from rope_mt.bench.data import shared_again
from rope_mt.data.epoch import LARGE, EpochPlan, join
from rope_mt.errors import UserError

N = 3000
Lengths = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def lengths() -> Lengths:
    """Lengths as pairs have them: the sides of a pair are not independent."""
    random = np.random.default_rng(1)
    src = random.integers(2, 40, N)
    return src.astype(np.int32), np.maximum(1, src + random.integers(-6, 7, N)).astype(np.int32)


def plan(
    lengths: Lengths, batch_tokens: int = 1400, max_len: int = 256, seed: int = 1, epoch: int = 0, **place: int
) -> EpochPlan:
    made = EpochPlan(*lengths, batch_tokens, max_len, seed, **place)
    made.epoch = epoch
    return made


def rows_of(made: EpochPlan) -> list[list[int]]:
    return [batch.rows.tolist() for batch in made]


@pytest.mark.parametrize("budget", [90, 1400, 5000, 10**6])
def test_an_epoch_has_every_example_once_in_full_batches_of_few_shapes(lengths, budget):
    """Only the last batch that is dealt may be smaller."""
    made = plan(lengths, budget)
    assert sorted(itertools.chain(*rows_of(made))) == list(range(N))
    assert len(made.shapes) == 32
    smaller = []
    for batch in made:
        assert batch.shape in made.shapes
        assert all(side[batch.rows].max() <= width for side, width in zip(lengths, batch.shape, strict=True))
        n = budget // sum(batch.shape)
        if len(batch.rows) != (n // 8 * 8 if n >= 64 else max(1, n)):
            assert len(batch.rows) < max(1, n)
            smaller.append(batch.shape)
    assert smaller in ([], [made.shapes[-1]])
    slots = sum(len(batch.rows) * (batch.shape[0] + batch.shape[1]) for batch in made)
    assert made.efficiency() == pytest.approx(sum(side.sum() for side in lengths) / slots)


def test_the_examples_of_a_batch_are_a_uniform_draw_among_those_of_its_shape():
    """Two of them share a batch by chance alone, wherever they are in the corpus and whatever they shared before."""
    same = np.full(N, 7)
    first, second = ([batch.rows for batch in plan((same, same), epoch=number)] for number in (0, 1))
    for before in (first, np.split(np.arange(N), N / 100)):
        assert shared_again(before, second, N) == pytest.approx(99 / (N - 1), rel=0.15)


def test_a_large_corpus_has_more_shapes(lengths):
    src, tgt = (np.resize(side, LARGE) for side in lengths)
    assert len(plan((src, tgt)).shapes) == 48
    assert len(plan((src[1:], tgt[1:])).shapes) == 32


def test_an_epoch_is_a_pure_function_of_seed_and_epoch(lengths):
    def epoch(seed: int, number: int) -> list[list[int]]:
        return rows_of(plan(lengths, seed=seed, epoch=number))

    assert epoch(1, 3) == epoch(1, 3)
    assert epoch(1, 3) != epoch(1, 4)
    assert epoch(1, 3) != epoch(2, 3)
    walked = plan(lengths)
    for walked.epoch in range(4):
        assert rows_of(walked) == epoch(1, walked.epoch)


def test_batches_come_in_no_order_of_length(lengths):
    src, _ = lengths
    means = np.array([src[batch.rows].mean() for batch in plan(lengths)])
    neighbours = np.corrcoef(means[:-1], means[1:])[0, 1]
    assert abs(neighbours) < 0.3


def test_long_pairs_are_left_out(lengths):
    rows = plan(lengths, max_len=20).rows
    assert max(lengths[0][rows].max(), lengths[1][rows].max()) == 21  # eos on top
    assert len(rows) < N
    with pytest.raises(UserError, match=r"no training pair has at most 20 tokens .* raise data.max_len"):
        plan(tuple(side + 20 for side in lengths), max_len=20)


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (3, 1), (5, 1), (1, 5), (3, 4)])
def test_ranks_share_an_epoch_in_equal_numbers_without_overlap(lengths, world, accumulate):
    whole = rows_of(plan(lengths, epoch=2))
    ranks = [plan(lengths, rank=rank, world=world, accumulate=accumulate, epoch=2) for rank in range(world)]
    updates = len(whole) // (world * accumulate)
    assert updates > 1
    assert {len(r) for r in ranks} == {updates * accumulate}
    shares = [rows_of(rank) for rank in ranks]
    # batch by batch all ranks together take what one process takes in `world` batches
    assert [b for step in zip(*shares, strict=True) for b in step] == whole[: updates * world * accumulate]
    numbers = sorted(rows.number for r in ranks for rows in r)
    assert numbers == list(range(updates * world * accumulate))


def test_an_update_of_more_batches_than_there_are_is_refused(lengths):
    n = len(plan(lengths))
    plan(lengths, world=n).batches()
    plan(lengths, accumulate=n).batches()
    for settings, among in (
        ({"world": 999}, "999 processes: lower data.batch_tokens$"),
        ({"accumulate": 888}, "trainer.accumulate=888: lower data.batch_tokens or trainer.accumulate$"),
        ({"world": 2, "accumulate": n}, f"2 processes with trainer.accumulate={n}: lower"),
    ):
        with pytest.raises(UserError, match=rf"^{n} batches do not go round {among}"):
            plan(lengths, **settings).batches()


def test_a_run_that_has_begun_is_not_refused_for_an_epoch_with_a_batch_less():
    random = np.random.default_rng(1)
    src = random.integers(3, 40, 2000)
    tgt = np.clip(src + random.integers(-4, 5, 2000), 2, 60)
    of_epochs = EpochPlan(src, tgt, 2048, 256, seed=3, accumulate=47)
    numbers = []
    for of_epochs.epoch in range(4):
        numbers.append(len(of_epochs.batches()))
        rows = np.concatenate([batch.rows for batch in of_epochs.batches()])
        assert sorted(rows) == [*range(2000)]
    assert numbers == [47] * 4
    alone = EpochPlan(src, tgt, 2048, 256, seed=3)
    alone.epoch = 2
    assert len(alone) == 46


def test_a_pair_longer_than_the_context_stays_by_itself():
    offsets = np.array([0, 2, 50, 52, 54])
    assert join(offsets, offsets, np.array([True, False, False, False]), 10).tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("names", "shapes"),
    [(["multi30k-train"], 32), (["multi30k-train", "europarl-v7-head20k", "newstest2009"], 48)],
    ids=["multi30k", "of many lengths"],
)
def test_batches_of_real_text_are_full_and_mixed(corpora, names, shapes):
    """A short slice of what `rope-mt bench data data=mixed` measures on 717,792 pairs; a token is three characters."""
    lengths = []
    for lang in ("en", "de"):
        lines = []
        for name in names:
            with lzma.open(corpora / "train" / f"{name}.en-de.{lang}.xz", "rt", encoding="utf-8", newline="\n") as file:
                lines += list(file)
        lengths.append(np.array([len(line) // 3 + 2 for line in lines], np.int32))
    first, second = (plan(lengths, 4000, epoch=number) for number in (0, 1))
    assert len(first.shapes) == shapes
    assert first.efficiency() > 0.92
    batches = ([batch.rows for batch in made] for made in (first, second))
    assert shared_again(*batches, len(lengths[0])) < 0.15
