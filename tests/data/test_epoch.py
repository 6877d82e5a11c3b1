"""Epochs: every example once, alike lengths together, other neighbours each time, the same for the same seed."""

import itertools
import lzma

import numpy as np
import pytest

from rope_mt.bench.data import efficiency, shared_again
from rope_mt.config.data import DataConfig
from rope_mt.data.epoch import EpochPlan, Rows, cut, join, on_grid
from rope_mt.errors import UserError

N = 3000
MOST = 257  # slots of a side with the default max_len


@pytest.fixture(scope="module")
def lengths() -> tuple[np.ndarray, np.ndarray]:
    """Lengths as pairs have them: the sides of a pair are not independent."""
    random = np.random.default_rng(1)
    src = random.integers(2, 40, N)
    return src.astype(np.int32), np.maximum(1, src + random.integers(-6, 7, N)).astype(np.int32)


def plan(
    lengths, seed: int = 1, rank: int = 0, world: int = 1, accumulate: int = 1, epoch: int = 0, **settings
) -> EpochPlan:
    cfg = DataConfig("test", "a", "b", "c", **{"batch_tokens": 1400, **settings})
    made = EpochPlan(*lengths, cfg, seed, rank, world, accumulate)
    made.epoch = epoch
    return made


def test_an_epoch_has_every_example_once_in_batches_within_the_budget(lengths):
    src, tgt = lengths
    batches = plan(lengths).batches()
    assert sorted(np.concatenate(batches)) == list(range(N))
    slots = [len(b) * (src[b].max() + tgt[b].max()) for b in batches]
    assert max(slots) <= 1400
    assert np.mean(slots) > 1200


@pytest.mark.parametrize("budget", [90, 333, 5000])
def test_cut_is_greedy_and_loses_nothing(lengths, budget):
    src, tgt = lengths
    order = np.random.default_rng(0).permutation(N)[:500]
    expected, batch = [], []
    for row in order:
        longer = [*batch, row]
        if len(longer) * (src[longer].max() + tgt[longer].max()) > budget:
            kept = len(batch) // 8 * 8 if len(batch) >= 64 else len(batch)
            expected.append(batch[:kept])
            longer = [*batch[kept:], row]
        batch = longer
    expected.append(batch)
    assert [b.tolist() for b in cut(src, tgt, order, budget)] == [[int(r) for r in b] for b in expected]


def test_slots_are_few_numbers_not_much_above_the_lengths():
    lengths = np.arange(1, 1026)
    slots = on_grid(lengths, 1025)
    assert (slots >= lengths).all()
    assert (slots[:16] == lengths[:16]).all()
    assert (slots - lengths < lengths / 8).all()
    assert slots.max() == 1025
    assert len(np.unique(slots)) < 80


def test_batches_come_in_few_shapes_of_round_sizes(lengths):
    made = plan(lengths, batch_tokens=4000)
    batches = made.batches()
    slots = [tuple(int(on_grid(side[b].max(), made.most)) for side in lengths) for b in batches]
    large = [(len(b), shape) for b, shape in zip(batches, slots, strict=True) if len(b) >= 64]
    assert large
    assert sum(n % 8 == 0 for n, _ in large) >= len(large) - 1
    exact = {tuple(int(side[b].max()) for side in lengths) for b in batches}
    assert len(set(slots)) < 0.9 * len(exact)


def test_an_epoch_is_a_pure_function_of_seed_and_epoch(lengths):
    def epoch(seed: int, number: int) -> list[list[int]]:
        return [b.tolist() for b in plan(lengths, seed, epoch=number).batches()]

    assert epoch(1, 3) == epoch(1, 3)
    assert epoch(1, 3) != epoch(1, 4)
    assert epoch(1, 3) != epoch(2, 3)
    walked = plan(lengths)
    for walked.epoch in range(4):
        batches = walked.batches()
    assert [b.tolist() for b in batches] == epoch(1, 3)


def test_batches_come_in_no_order_of_length(lengths):
    src, _ = lengths
    means = np.array([src[b].mean() for b in plan(lengths).batches()])
    neighbours = np.corrcoef(means[:-1], means[1:])[0, 1]
    assert abs(neighbours) < 0.3


def test_neighbours_change_from_epoch_to_epoch(lengths):
    first, second = (plan(lengths, epoch=number, batch_tokens=700).batches() for number in (0, 1))
    brute = [{p for b in batches for p in itertools.combinations(sorted(b.tolist()), 2)} for batches in (first, second)]
    assert shared_again(first, second, N) == pytest.approx(len(brute[0] & brute[1]) / len(brute[0]))
    assert shared_again(first, second, N) < 0.5
    assert efficiency(first, *lengths, most=MOST) > 0.85


def test_long_pairs_are_left_out(lengths):
    rows = plan(lengths, max_len=20).rows
    assert max(lengths[0][rows].max(), lengths[1][rows].max()) == 21  # eos on top
    assert len(rows) < N
    with pytest.raises(UserError, match=r"no training pair has at most 20 tokens .* raise data.max_len"):
        plan(tuple(side + 20 for side in lengths), max_len=20)


def test_very_long_pairs_are_not_batched_with_short_ones():
    lengths = np.repeat(np.array([9, 8_200, 65_535], dtype=np.int32), 300)
    for batch in plan((lengths, lengths), max_len=65_535, batch_tokens=400_000).batches():
        assert len({*lengths[batch]}) == 1


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (3, 1), (5, 1), (1, 5), (3, 4)])
def test_ranks_share_an_epoch_in_equal_numbers_without_overlap(lengths, world, accumulate):
    whole = [b.tolist() for b in plan(lengths, epoch=2).batches()]
    ranks = [plan(lengths, rank=rank, world=world, accumulate=accumulate, epoch=2) for rank in range(world)]
    updates = len(whole) // (world * accumulate)
    assert updates > 1
    assert {len(r) for r in ranks} == {updates * accumulate}
    shares = [[b.tolist() for b in r.batches()] for r in ranks]
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


def test_iterating_goes_on_where_it_is_told(lengths):
    made = plan(lengths, epoch=1)
    rows = [*made]
    assert [r.number for r in rows] == list(range(len(made)))
    assert all(isinstance(r, Rows) and r.epoch == 1 for r in rows)
    made.start = 5
    assert [r.rows.tolist() for r in made] == [r.rows.tolist() for r in rows[5:]]


def test_join_fills_examples_with_consecutive_pairs_of_a_document():
    random = np.random.default_rng(0)
    src, tgt = (np.concatenate(([0], random.integers(1, 9, 200).cumsum())) for _ in range(2))
    begins = random.random(200) < 0.1
    begins[0] = True
    firsts = join(src, tgt, begins, 20)
    assert firsts[0] == 0
    assert firsts[-1] == 200
    assert set(np.flatnonzero(begins)) <= set(firsts.tolist())
    for a, b in itertools.pairwise(firsts):
        assert b > a
        assert b == a + 1 or max(src[b] - src[a], tgt[b] - tgt[a]) <= 20
        if b < 200 and not begins[b]:  # one more would have been too much
            assert max(src[b + 1] - src[a], tgt[b + 1] - tgt[a]) > 20


def test_a_pair_longer_than_the_context_stays_by_itself():
    offsets = np.array([0, 2, 50, 52, 54])
    assert join(offsets, offsets, np.array([True, False, False, False]), 10).tolist() == [0, 1, 2, 4]


def test_batches_of_real_text_are_full_and_mixed(corpora):
    """A short slice of what `rope-mt bench data data=mixed` measures on 717,792 pairs; a token is three characters."""
    lengths = []
    for lang in ("en", "de"):
        lines = []
        for name in ("multi30k-train", "europarl-v7-head20k", "newstest2009"):
            with lzma.open(corpora / "train" / f"{name}.en-de.{lang}.xz", "rt", encoding="utf-8", newline="\n") as file:
                lines += list(file)
        lengths.append(np.array([len(line) // 3 + 2 for line in lines], np.int32))
    first, second = (plan(lengths, epoch=number, batch_tokens=4000).batches() for number in (0, 1))
    assert efficiency(first, *lengths, most=MOST) > 0.92
    assert shared_again(first, second, len(lengths[0])) < 0.15
