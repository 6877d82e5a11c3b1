"""Batches: padded sentences, sampled pieces, joined sentences of a document, and exact resumption."""

import itertools
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from rope_mt.config.data import DataConfig
from rope_mt.data import toy
from rope_mt.data.batches import PairDataset, SampledPairs, Sentences, training_pairs
from rope_mt.data.epoch import EpochPlan, Rows
from rope_mt.data.loader import ResumableLoader
from rope_mt.data.prepare import prepare
from rope_mt.data.tokenizer import BOS, EOS, PAD, Tokenizer, train_tokenizer
from rope_mt.errors import UserError

from .small_text import documents, write

SOME = Rows(np.array([3, 1, 4]), (200, 201), epoch=0, number=0)


def sentences(n: int, seed: int) -> Sentences:
    random = np.random.default_rng(seed)
    return Sentences.of([random.integers(4, 300, k).tolist() for k in random.integers(0, 40, n)])


@pytest.fixture(scope="module")
def pairs() -> PairDataset:
    return PairDataset(sentences(500, 1), sentences(500, 2))


def config(**settings) -> DataConfig:
    return DataConfig("test", "a", "b", "c", **{"batch_tokens": 700, **settings})


def plan(pairs: PairDataset, batch_tokens: int = 700, max_len: int = 256) -> EpochPlan:
    return EpochPlan(*pairs.lengths(), batch_tokens, max_len, seed=1)


def content(batch) -> tuple[list[list[int]], list[list[int]]]:
    """Source and target ids of a batch without padding and eos, and that eos is where it should be."""
    src = [[i for i in row if i != PAD] for row in batch.src.tolist()]
    places = np.bincount(batch.where.numpy() // batch.tgt_in.shape[1], minlength=len(src)).cumsum()[:-1]
    tgt = [part.tolist() for part in np.split(batch.tgt_out.numpy(), places)]
    assert all(ids[-1] == EOS for ids in src + tgt)
    return [ids[:-1] for ids in src], [ids[:-1] for ids in tgt]


def test_a_batch_is_the_padded_sentences(pairs):
    batch = pairs[SOME]
    assert (batch.src.shape, batch.tgt_in.shape) == ((3, 200), (3, 201))
    src, tgt = content(batch)
    assert src == pairs.src.some(SOME.rows)
    assert tgt == pairs.tgt.some(SOME.rows)
    for row in batch.src.tolist():  # padding to the right
        assert PAD not in row[: len(row) - row.count(PAD)]
    flat = batch.tgt_in.flatten()
    assert flat[batch.where].tolist() == [token for ids in tgt for token in [BOS, *ids]]
    assert batch.n_tokens == sum(len(ids) + 1 for ids in tgt)


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def sampled(request) -> SampledPairs:
    corpus = toy.generate(n_train=200, n_valid=1, n_test=1)
    sides = [list(side) for side in zip(*corpus.train, strict=True)]
    tokenizer = Tokenizer(train_tokenizer(sides[0] + sides[1], 500, request.param))
    src, tgt = (Sentences.of(tokenizer.encode(side)) for side in sides)
    pairs = SampledPairs(src, tgt, tokenizer, config(sampling=0.3, tokenizer=request.param), seed=7)
    pairs.made_with, pairs.kind = tokenizer, request.param
    return pairs


def test_samples_are_drawn_by_seed_epoch_and_batch_and_the_few_that_do_not_fit_keep_the_ids_they_have(sampled):
    """What the sampler draws is the same text, by its seed alone: test_subword_sampling.py."""
    drawn, batches = {True: 0, False: 0}, plan(sampled, 2000)  # samples that were trained on, and that were too long
    batches.epoch = 3
    for number, batch in enumerate(batches):
        made = sampled[batch]
        assert (made.src.shape[1], made.tgt_in.shape[1]) == batch.shape
        seeds = np.random.SeedSequence((7, 3, number)).generate_state(2).tolist()
        for side, ids, seed, width in zip((sampled.src, sampled.tgt), content(made), seeds, batch.shape, strict=True):
            kept = side.some(batch.rows)
            for old, new, used in zip(kept, sampled.sampler.sample(kept, seed), ids, strict=True):
                drawn[fits := len(new) < width] += 1
                assert used == (new if fits else old)
    assert 0 < drawn[False] < 0.02 * drawn[True]


def test_sampling_skips_the_same_pairs_as_no_sampling(sampled):
    """A pair is skipped if its own ids are too long, and not if its samples often are."""
    within = config(sampling={"bpe": 0.3, "unigram": 0.01}[sampled.kind], max_len=25, tokenizer=sampled.kind)
    grown = SampledPairs(sampled.src, sampled.tgt, sampled.made_with, within, seed=7)
    kept, expected = (plan(pairs, max_len=25) for pairs in (grown, PairDataset(sampled.src, sampled.tgt)))
    assert np.array_equal(kept.rows, expected.rows)
    assert kept.shapes[-1] == (26, 26)
    assert 0.2 < len(kept.rows) / len(sampled.src.lengths) < 0.9


@pytest.mark.parametrize("sampled", ["bpe"], indirect=True)
@pytest.mark.parametrize(("stop", "sampling"), [(0, False), (5, True), ("end", False), ("second epoch", True)])
def test_a_loader_continues_with_the_very_next_batch(pairs, sampled, stop, sampling):
    pairs = sampled if sampling else pairs

    def drawn(n: int, state: dict | None = None) -> tuple[list[torch.Tensor], dict]:
        """Source ids of the next n batches, and the state after them."""
        loader = ResumableLoader(pairs, plan(pairs), workers=0)
        if state:
            loader.load_state_dict(state)
        batches = (batch.src for _ in itertools.count() for batch in loader)
        return [*itertools.islice(batches, n)], loader.state_dict()

    epoch = len(plan(pairs))
    n = {"end": epoch, "second epoch": epoch + 3}.get(stop, stop)
    straight, _ = drawn(n + epoch + 7)
    first, state = drawn(n)
    rest, _ = drawn(epoch + 7, state)
    assert all(torch.equal(a, b) for a, b in zip([*first, *rest], straight, strict=True))


WITH_WORKERS = """
import itertools, multiprocessing, os, sys
from rope_mt.data.batches import PairDataset, Sentences
from rope_mt.data.loader import ResumableLoader
from rope_mt.data.epoch import EpochPlan

def loader(workers):
    side = Sentences.of([[5] * n for n in range(1, 40)] * 50)
    pairs = PairDataset(side, side)
    made = ResumableLoader(pairs, EpochPlan(*pairs.lengths(), 700, 256, seed=1), workers)
    made.load_state_dict({"epoch": 1, "drawn": 5})
    return made

if __name__ == "__main__":
    assert "lightning" not in sys.modules  # which would take every worker some seconds
    for batch, alone in itertools.islice(zip(loader(2), loader(0)), 9):
        assert batch.src.equal(alone.src) and batch.tgt_out.equal(alone.tgt_out)
    batches = iter(loader(2))
    next(batches)
    print(len(multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_workers_give_the_same_batches_and_end_with_a_training_process_that_was_killed(tmp_path):
    (tmp_path / "killed.py").write_text(WITH_WORKERS)
    command = [sys.executable, str(tmp_path / "killed.py")]
    killed = subprocess.run(command, stdout=subprocess.PIPE, timeout=60)  # a worker that lives on keeps the pipe open
    assert (killed.returncode, int(killed.stdout)) == (-9, 2)


def test_ids_on_disk_go_to_another_process_by_name(tmp_path):
    ids = np.arange(100_000, dtype=np.uint16)
    ids.tofile(tmp_path / "ids")
    side = Sentences(np.memmap(tmp_path / "ids", dtype=np.uint16, mode="r"), np.array([0, 10, 100_000]))
    carried = pickle.dumps(side)
    assert len(carried) < 2000
    assert pickle.loads(carried).some(np.array([0])) == [list(range(10))]


# ---- consecutive sentences of a document, joined --------------------------------------------------------------------

LENGTHS = [3, 1, 17, 40, 2, 60, 7]  # sentences of each document


@pytest.fixture(scope="module")
def sides() -> list[list[str]]:
    corpus = toy.generate(n_train=sum(LENGTHS), n_valid=1, n_test=1)
    return [list(side) for side in zip(*corpus.train, strict=True)]


def documents_in(folder: Path, sides: list[list[str]], docs: bool, **settings) -> DataConfig:
    prefix = write(folder / "text", *sides)
    if docs:
        documents(prefix, *zip(itertools.accumulate([1, *LENGTHS[:-1]]), LENGTHS, strict=True))
    return DataConfig("files", prefix, prefix, prefix, vocab_size=600, dir=str(folder / "data"), **settings)


def examples(cfg: DataConfig) -> tuple[PairDataset, list[list[str]]]:
    """The training examples, and the text of both sides of each."""
    prepared = prepare(cfg)
    pairs = training_pairs(cfg, prepared, seed=1)
    rows = np.arange(len(pairs.src.lengths))
    return pairs, [prepared.tokenizer().decode(side.some(rows)) for side in (pairs.src, pairs.tgt)]


@pytest.mark.parametrize("docs", [True, False])
def test_examples_are_consecutive_sentences_of_one_document(tmp_path, sides, docs):
    """As many as fit: the next one would have been too much."""
    cfg = documents_in(tmp_path, sides, docs, context_tokens=150)
    pairs, joined = examples(cfg)
    assert max(pairs.src.lengths.max(), pairs.tgt.lengths.max()) <= 151  # eos on top
    alone, texts = examples(replace(cfg, context_tokens=None))
    assert texts == sides  # without a context every pair is an example
    sizes = [side.lengths - 1 for side in (alone.src, alone.tgt)]
    ends = {*itertools.accumulate(LENGTHS)} if docs else {sum(LENGTHS)}
    at, seen = 0, set()
    for src, tgt in zip(*joined, strict=True):
        n = next(n for n in itertools.count(1) if " ".join(sides[0][at : at + n]) == src)
        assert tgt == " ".join(sides[1][at : at + n])
        assert not ends & set(range(at + 1, at + n))
        assert at + n in ends or max(side[at : at + n + 1].sum() for side in sizes) > 150
        at += n
        seen.add(n)
    assert at == sum(LENGTHS)
    assert max(seen) > 2


def test_a_dropped_sentence_is_no_neighbour(tmp_path, sides):
    gap = 5
    broken = [[*side] for side in sides]
    broken[0][gap] = ""
    _, (sources, _) = examples(documents_in(tmp_path, broken, docs=False, context_tokens=200, max_len=256))
    assert sources[0] == " ".join(sides[0][:gap])
    assert sources[1].startswith(sides[0][gap + 1])


def test_a_batch_goes_to_another_process_without_shared_memory_of_which_containers_have_little(pairs):
    batch = pairs[SOME]
    sent = pickle.loads(ForkingPickler.dumps(batch))
    assert not any(part.is_shared() for part in batch)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(batch, sent, strict=True))


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus")],
)
def test_what_workers_cannot_have_is_a_line_with_their_setting(pairs, error, monkeypatch):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "__init__", fail)
    remedy = "take fewer than data.workers=2, or data.workers=0"
    with pytest.raises(UserError, match=f"{re.escape(str(error))}.*: {remedy}"):
        next(iter(ResumableLoader(pairs, plan(pairs), workers=2)))
