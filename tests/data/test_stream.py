"""Batches: the padded sentences, cut into pieces anew when asked, and resumed exactly."""

import itertools
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from rope_mt.config.data import DataConfig
from rope_mt.data import toy
from rope_mt.data.batches import PairDataset, SampledPairs, Sentences
from rope_mt.data.epoch import EpochPlan, Rows
from rope_mt.data.loader import ResumableLoader
from rope_mt.data.tokenizer import BOS, EOS, PAD, Tokenizer, train_tokenizer

MOST = 257  # slots of a side with the default max_len


def sentences(n: int, seed: int) -> Sentences:
    random = np.random.default_rng(seed)
    return Sentences.of([random.integers(4, 300, k).tolist() for k in random.integers(0, 40, n)])


@pytest.fixture(scope="module")
def pairs() -> PairDataset:
    return PairDataset(sentences(500, 1), sentences(500, 2), most=MOST)


def config(**settings) -> DataConfig:
    return DataConfig("test", "a", "b", "c", **{"batch_tokens": 700, **settings})


def plan(pairs: PairDataset, **settings) -> EpochPlan:
    return EpochPlan(*pairs.lengths(), config(**settings), seed=1)


def rows(*numbers: int, epoch: int = 0, number: int = 0) -> Rows:
    return Rows(np.array(numbers), epoch, number)


def content(batch) -> tuple[list[list[int]], list[list[int]]]:
    """Source and target ids of a batch without padding and eos, and that eos is where it should be."""
    src = [[i for i in row if i != PAD] for row in batch.src.tolist()]
    places = np.bincount(batch.where.numpy() // batch.tgt_in.shape[1], minlength=len(src)).cumsum()[:-1]
    tgt = [part.tolist() for part in np.split(batch.tgt_out.numpy(), places)]
    assert all(ids[-1] == EOS for ids in src + tgt)
    return [ids[:-1] for ids in src], [ids[:-1] for ids in tgt]


def test_a_batch_is_the_padded_sentences(pairs):
    batch = pairs[rows(3, 1, 4)]
    src, tgt = content(batch)
    assert src == pairs.src.some(np.array([3, 1, 4]))
    assert tgt == pairs.tgt.some(np.array([3, 1, 4]))
    for row in batch.src.tolist():  # padding to the right
        assert PAD not in row[: len(row) - row.count(PAD)]
    flat = batch.tgt_in.flatten()
    assert flat[batch.where].tolist() == [token for ids in tgt for token in [BOS, *ids]]
    assert batch.n_tokens == sum(len(ids) + 1 for ids in tgt)


def test_joined_pairs_are_the_sentences_end_to_end(pairs):
    firsts = np.array([0, 3, 4, 500])
    joined = Sentences(pairs.src.ids, pairs.src.offsets[firsts])
    whole = [list(itertools.chain(*pairs.src.some(np.arange(a, b)))) for a, b in itertools.pairwise(firsts)]
    assert joined.some(np.arange(3)) == whole
    assert joined.lengths.tolist() == [len(ids) + 1 for ids in whole]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def sampled(request) -> SampledPairs:
    corpus = toy.generate(n_train=400, n_valid=1, n_test=1)
    sides = [list(side) for side in zip(*corpus.train, strict=True)]
    tokenizer = Tokenizer(train_tokenizer(sides[0] + sides[1], 500, request.param))
    src, tgt = (Sentences.of(tokenizer.encode(side)) for side in sides)
    pairs = SampledPairs(src, tgt, tokenizer, config(sampling=0.3, tokenizer=request.param), seed=7)
    pairs.made_with, pairs.kind = tokenizer, request.param
    return pairs


def test_sampling_cuts_the_same_text_otherwise(sampled):
    chosen = np.arange(20)
    src, tgt = content(sampled[Rows(chosen, 0, 0)])
    for drawn, side in ((src, sampled.src), (tgt, sampled.tgt)):
        assert drawn != side.some(chosen)
        assert sampled.made_with.decode(drawn) == sampled.made_with.decode(side.some(chosen))


def test_sampling_is_a_function_of_seed_epoch_and_batch(sampled):
    def drawn(**at) -> list[list[int]]:
        return content(sampled[rows(*range(30), **at)])[0]

    first = drawn(epoch=1, number=2)
    assert drawn(epoch=0, number=0) != first
    assert drawn(epoch=1, number=2) == first
    assert drawn(epoch=2, number=2) != first
    assert drawn(epoch=1, number=3) != first


def test_sampled_batches_keep_to_the_budget_on_average(sampled):
    made = EpochPlan(*sampled.lengths(), config(sampling=0.3, batch_tokens=2000), seed=1)
    batches = [sampled[at] for at in made]
    slots = [len(b.src) * (b.src.shape[1] + b.tgt_in.shape[1]) for b in batches[:-1]]
    assert np.mean(slots) < 2300


def test_a_sample_that_is_too_long_keeps_the_ids_it_has(sampled):
    longest = int(max(sampled.src.lengths.max(), sampled.tgt.lengths.max())) - 1
    row = int(sampled.src.lengths.argmax())

    def widths(max_len: int) -> list[int]:
        # much dropout for BPE, a flat distribution for unigram: both then cut into more pieces
        often = config(sampling={"bpe": 0.3, "unigram": 0.01}[sampled.kind], max_len=max_len, tokenizer=sampled.kind)
        pairs = SampledPairs(sampled.src, sampled.tgt, sampled.made_with, often, seed=7)
        return [pairs[rows(row, number=number)].src.shape[1] for number in range(20)]

    assert max(widths(longest)) <= longest + 1 < max(widths(max_len=300))


def test_sampling_leaves_out_the_same_pairs_as_no_sampling(sampled):
    """Those whose own ids are too long, and not those whose samples often are."""
    within = config(sampling={"bpe": 0.3, "unigram": 0.01}[sampled.kind], max_len=25, tokenizer=sampled.kind)
    grown = SampledPairs(sampled.src, sampled.tgt, sampled.made_with, within, seed=7)
    plain = PairDataset(sampled.src, sampled.tgt, most=26)
    kept, expected = (EpochPlan(*pairs.lengths(), within, seed=1).rows for pairs in (grown, plain))
    assert np.array_equal(kept, expected)
    assert 0.2 < len(kept) / len(sampled.src.lengths) < 0.9


@pytest.mark.parametrize("sampled", ["bpe"], indirect=True)  # how text is cut is not the loader's business
@pytest.mark.parametrize(
    ("stop", "workers", "sampling"),
    [
        *((stop, 0, sampling) for stop in (0, 5, "end", "second epoch") for sampling in (False, True)),
        *((5, 2, True), ("end", 2, False), ("second epoch", 2, True)),
    ],
)
def test_a_loader_goes_on_with_the_very_next_batch(pairs, sampled, workers, stop, sampling):
    pairs = sampled if sampling else pairs

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


def test_the_slots_of_a_batch_never_exceed_what_the_longest_pair_needs(pairs):
    """A scheme with a table of positions has no more of them."""
    longest = int(max(side.lengths.max() for side in (pairs.src, pairs.tgt)))
    tight = PairDataset(pairs.src, pairs.tgt, most=longest)
    everything = rows(*range(500))
    assert tight[everything].src.shape[1] == tight[everything].tgt_in.shape[1] == longest
    assert pairs[everything].src.shape[1] == 40  # and otherwise a number that comes again


KILLED = """
import os, sys
import numpy as np
from rope_mt.config.data import DataConfig
from rope_mt.data.batches import PairDataset, Sentences
from rope_mt.data.loader import ResumableLoader
from rope_mt.data.epoch import EpochPlan

if __name__ == "__main__":
    assert "lightning" not in sys.modules  # which would take every worker some seconds
    side = Sentences.of([[5] * n for n in range(1, 40)] * 50)
    pairs = PairDataset(side, side, most=257)
    plan = EpochPlan(*pairs.lengths(), DataConfig("test", "a", "b", "c", batch_tokens=700), seed=1)
    batches = iter(ResumableLoader(pairs, plan, workers=2))
    next(batches)
    import multiprocessing
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_workers_end_with_a_training_process_that_was_killed(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    with open(tmp_path / "said", "w+") as said:
        subprocess.run([sys.executable, str(tmp_path / "killed.py")], stdout=said, timeout=60)
        said.seek(0)
        workers = [int(pid) for pid in said.read().split()]
    assert len(workers) == 2
    for _ in range(100):
        if not any(is_running(pid) for pid in workers):
            break
        time.sleep(0.1)
    assert not any(is_running(pid) for pid in workers)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ids_on_disk_go_to_another_process_by_name(tmp_path):
    ids = np.arange(100_000, dtype=np.uint16)
    ids.tofile(tmp_path / "ids")
    side = Sentences(np.memmap(tmp_path / "ids", dtype=np.uint16, mode="r"), np.array([0, 10, 100_000]))
    carried = pickle.dumps(side)
    assert len(carried) < 2000
    assert pickle.loads(carried).some(np.array([0])) == [list(range(10))]
