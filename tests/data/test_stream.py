"""Batches: complete, within their budget, a pure function of (seed, epoch), and resumed exactly."""

import itertools

import numpy as np
import pytest
import torch

from rope_mt.config import DataConfig
from rope_mt.data.stream import EpochPlan, PairDataset, ResumableLoader, Sentences, cut
from rope_mt.data.tokenizer import BOS, EOS, PAD


def sentences(n: int, seed: int) -> Sentences:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 40, n)
    return Sentences.of([np.append(random.integers(4, 300, k), EOS).astype(np.uint16) for k in lengths])


@pytest.fixture(scope="module")
def pairs() -> PairDataset:
    return PairDataset(sentences(500, 1), sentences(500, 2))


def plan(pairs: PairDataset, seed: int = 1, **settings) -> EpochPlan:
    cfg = DataConfig("test", "a", "b", "c", **{"batch_tokens": 700, **settings})
    return EpochPlan(pairs.src.lengths, pairs.tgt.lengths, cfg, seed)


def test_an_epoch_has_every_pair_once_in_batches_within_the_budget(pairs):
    batches = plan(pairs).batches()
    assert sorted(np.concatenate(batches)) == list(range(500))
    slots = [len(b) * (pairs.src.lengths[b].max() + pairs.tgt.lengths[b].max()) for b in batches]
    assert max(slots) <= 700
    assert np.mean(slots) > 600


@pytest.mark.parametrize("budget", [90, 333, 5000])
def test_cut_is_greedy_and_loses_nothing(pairs, budget):
    src, tgt = pairs.src.lengths, pairs.tgt.lengths
    order = np.random.default_rng(0).permutation(500)
    expected, batch = [], []
    for row in order:
        longer = [*batch, row]
        if len(longer) * (src[longer].max() + tgt[longer].max()) > budget:
            expected.append(batch)
            longer = [row]
        batch = longer
    expected.append(batch)
    assert [b.tolist() for b in cut(src, tgt, order, budget)] == [[int(r) for r in b] for b in expected]


def test_an_epoch_is_a_pure_function_of_seed_and_epoch(pairs):
    def epoch(seed: int, number: int) -> list[list[int]]:
        p = plan(pairs, seed)
        p.epoch = number
        return [b.tolist() for b in p.batches()]

    assert epoch(1, 3) == epoch(1, 3)
    assert epoch(1, 3) != epoch(1, 4)
    assert epoch(1, 3) != epoch(2, 3)


def test_neighbours_change_from_epoch_to_epoch(pairs):
    p = plan(pairs)
    shared = []
    for epoch in (0, 1):
        p.epoch = epoch
        shared.append({pair for b in p.batches() for pair in itertools.combinations(sorted(b.tolist()), 2)})
    assert len(shared[0] & shared[1]) < 0.5 * len(shared[0])


def test_long_pairs_are_left_out(pairs):
    rows = plan(pairs, max_len=20).rows
    assert max(pairs.src.lengths[rows].max(), pairs.tgt.lengths[rows].max()) == 21  # eos on top
    assert len(rows) < 500


def test_a_batch_is_the_padded_sentences(pairs):
    rows = np.array([3, 1, 4])
    batch = pairs[rows]
    for i, row in enumerate(rows):
        for side, matrix in ((pairs.src, batch.src),):
            ids = side.ids[side.offsets[row] : side.offsets[row + 1]].tolist()
            assert matrix[i].tolist() == ids + [PAD] * (matrix.shape[1] - len(ids))
    targets = [pairs.tgt.ids[pairs.tgt.offsets[r] : pairs.tgt.offsets[r + 1]].tolist() for r in rows]
    assert batch.tgt_out.tolist() == [token for ids in targets for token in ids]
    flat = batch.tgt_in.flatten()
    shifted = [token for ids in targets for token in [BOS, *ids[:-1]]]
    assert flat[batch.where].tolist() == shifted
    assert batch.n_tokens == len(shifted)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 5, "end", "second epoch"])
def test_a_loader_goes_on_with_the_very_next_batch(pairs, workers, stop):
    def fresh() -> ResumableLoader:
        return ResumableLoader(pairs, plan(pairs), workers)

    def some(loader: ResumableLoader, n: int) -> list[torch.Tensor]:
        drawn = []
        while len(drawn) < n:
            for batch in loader:
                drawn.append(batch.src)
                if len(drawn) == n:
                    break
        return drawn

    epoch = len(fresh())
    n = {"end": epoch, "second epoch": epoch + 3}.get(stop, stop)
    straight = some(fresh(), n + epoch + 7)
    first = fresh()
    drawn = some(first, n)
    second = fresh()
    second.load_state_dict(first.state_dict())
    drawn += some(second, epoch + 7)
    assert len(drawn) == len(straight)
    assert all(torch.equal(a, b) for a, b in zip(drawn, straight, strict=True))
