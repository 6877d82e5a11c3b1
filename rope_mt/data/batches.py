"""Batches of training pairs, by their rows, from the memory maps that `prepare` wrote."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor
from torch.utils.data import Dataset

from rope_mt.config.data import DataConfig
from rope_mt.data.epoch import Rows, join
from rope_mt.data.prepared import Prepared
from rope_mt.data.subword_sampling import SubwordSampler
from rope_mt.data.tokenizer import BOS, EOS, PAD, Tokenizer


class Batch(NamedTuple):
    """Padded pairs, and where the target's real tokens are, so that nothing is computed for padding."""

    src: Int[Tensor, "batch src"]
    tgt_in: Int[Tensor, "batch tgt"]  # bos and the tokens but the last
    tgt_out: Int[Tensor, " tokens"]  # the real tokens, eos among them, row after row
    where: Int[Tensor, " tokens"]  # their places in (batch * tgt)

    @property
    def n_tokens(self) -> int:
        """Real target tokens: known from the shape, without asking the device."""
        return len(self.tgt_out)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as arrays: tensors would go from a worker by /dev/shm, which is small in containers."""
        return _batch_of, tuple(tensor.numpy() for tensor in self)


def _batch_of(*arrays: np.ndarray) -> Batch:
    return Batch(*map(torch.from_numpy, arrays))


class Sentences:
    """One side of a corpus.

    Args:
        ids: the ids of all sentences end to end, without eos.
        offsets: where each sentence begins, and at last where the last one ends.

    Attributes:
        lengths: tokens of each sentence, with the eos that `padded` adds.
    """

    def __init__(self, ids: Integer[np.ndarray, " tokens"], offsets: Integer[np.ndarray, " bounds"]) -> None:
        self.ids, self.offsets = ids, offsets
        self.lengths = (np.diff(offsets) + 1).astype(np.int32)

    @classmethod
    def of(cls, encoded: list[list[int]]) -> "Sentences":
        ids = np.array([token for sentence in encoded for token in sentence], dtype=np.uint16)
        return cls(ids, np.cumsum([0, *map(len, encoded)]))

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: of ids on disk the name of their file."""
        ids = self.ids
        return {**vars(self), "ids": (str(ids.filename), ids.dtype) if isinstance(ids, np.memmap) else ids}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if isinstance(self.ids, tuple):
            self.ids = np.memmap(self.ids[0], dtype=self.ids[1], mode="r")

    def some(self, rows: np.ndarray) -> list[list[int]]:
        """The ids of these rows."""
        return [self.ids[self.offsets[row] : self.offsets[row + 1]].tolist() for row in rows]

    def padded(self, rows: np.ndarray, width: int) -> Int[np.ndarray, "batch {width}"]:
        """The sentences of these rows, eos behind each, and PAD behind that."""
        out = np.full((len(rows), width), PAD, dtype=np.int64)
        last = self.lengths[rows] - 1
        # the places of all tokens in `ids`, row after row, so that they are gathered in one go
        places = np.arange(int(last.sum())) + np.repeat(self.offsets[rows] - (np.cumsum(last) - last), last)
        out[np.arange(width) < last[:, None]] = self.ids[places]
        out[np.arange(len(rows)), last] = EOS
        return out


class PairDataset(Dataset[Batch]):
    """Batches by their rows: `dataset[Rows([3, 1, 4], ...)]` is one batch of three pairs."""

    def __init__(self, src: Sentences, tgt: Sentences) -> None:
        self.src, self.tgt = src, tgt

    def __getitem__(self, batch: Rows) -> Batch:
        src, tgt = self.src.padded(batch.rows, batch.shape[0]), self.tgt.padded(batch.rows, batch.shape[1])
        real = tgt != PAD
        tgt_in = np.empty_like(tgt)
        tgt_in[:, 0], tgt_in[:, 1:] = BOS, tgt[:, :-1]
        return _batch_of(src, tgt_in, tgt[real], np.flatnonzero(real))

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Slots of both sides of each pair: batches are made by them."""
        return self.src.lengths, self.tgt.lengths


class SampledPairs(PairDataset):
    """Batches whose text is cut into pieces anew, by random numbers from (seed, epoch, batch) alone.

    A sentence that would become longer than its batch is wide keeps the ids it has.
    """

    def __init__(self, src: Sentences, tgt: Sentences, tokenizer: Tokenizer, cfg: DataConfig, seed: int) -> None:
        super().__init__(src, tgt)
        self.sampler = SubwordSampler(tokenizer, cfg.tokenizer, cfg.sampling)
        self.max_len, self.seed = cfg.max_len, seed

    def __getitem__(self, batch: Rows) -> Batch:
        seeds = np.random.SeedSequence((self.seed, batch.epoch, batch.number)).generate_state(2).tolist()
        sides = []
        for side, seed, width in zip((self.src, self.tgt), seeds, batch.shape, strict=True):
            kept = side.some(batch.rows)
            drawn = zip(kept, self.sampler.sample(kept, seed), strict=True)
            sides.append(Sentences.of([new if len(new) < width else old for old, new in drawn]))
        return PairDataset(*sides)[batch._replace(rows=np.arange(len(batch.rows)))]

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Slots that hold 49 of 50 samples of a sentence, estimated with a thousand pairs.

        The mean length grows with the tokens, and the deviation from it with their root, as that of a sum does.
        """
        some = np.linspace(0, len(self.src.lengths) - 1, min(1000, len(self.src.lengths))).astype(np.int64)
        lengths = []
        for side in (self.src, self.tgt):
            kept = side.lengths[some]
            drawn = np.array([len(ids) + 1 for ids in self.sampler.sample(side.some(some), seed=0)])
            growth = drawn.sum() / kept.sum()
            more = np.quantile((drawn - growth * kept) / np.sqrt(kept), 0.98)
            needed = np.ceil(growth * side.lengths + more * np.sqrt(side.lengths))
            # a pair that fits as it is stored stays, even if samples of it are often too long
            needed = np.clip(needed, side.lengths, np.maximum(side.lengths, self.max_len + 1))
            lengths.append(needed.astype(np.int32))
        return lengths[0], lengths[1]


def training_pairs(cfg: DataConfig, prepared: Prepared, seed: int) -> PairDataset:
    """The examples to train on: pairs, or with `context_tokens` consecutive pairs joined."""
    src_offsets, tgt_offsets = (
        np.concatenate(([0], prepared.map(f"{side}.lengths").cumsum(dtype=np.int64))) for side in ("src", "tgt")
    )
    if cfg.context_tokens:
        firsts = join(src_offsets, tgt_offsets, prepared.map("begins"), cfg.context_tokens)
        src_offsets, tgt_offsets = src_offsets[firsts], tgt_offsets[firsts]
    src, tgt = Sentences(prepared.map("src.ids"), src_offsets), Sentences(prepared.map("tgt.ids"), tgt_offsets)
    if cfg.sampling:
        return SampledPairs(src, tgt, prepared.tokenizer(), cfg, seed)
    return PairDataset(src, tgt)
