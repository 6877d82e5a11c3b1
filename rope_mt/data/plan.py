"""Which training examples make a batch: an epoch is a pure function of (seed, epoch), the same on every machine."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from rope_mt.config.data import DataConfig
from rope_mt.errors import UserError

# Lengths are counted in sixteenths of a token, so that noise is a whole number and sorting exact everywhere.
FINE = 16
NOISE = 3 * FINE // 2  # pairs are sorted by lengths that are off by up to this much, anew in every epoch
STRIPE = 2 * FINE  # pairs whose target lengths differ by less than this are sorted by source length


class Rows(NamedTuple):
    """The examples of one batch, and which batch of which epoch it is."""

    rows: np.ndarray
    epoch: int
    number: int


class EpochPlan(Sampler[Rows]):
    """The batches of one epoch: examples of similar length together, with other neighbours every time.

    Args:
        src, tgt: lengths of the examples, eos counted.
        rank, world: with several processes each takes every world-th batch, all of them equally many; what is left
            over, fewer than `world` batches, is left out in this epoch.

    Raises:
        UserError: no example is short enough.
    """

    def __init__(
        self, src: np.ndarray, tgt: np.ndarray, cfg: DataConfig, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.src, self.tgt, self.seed, self.batch_tokens = src, tgt, seed, cfg.batch_tokens
        self.rank, self.world = rank, world
        fits = (src <= cfg.max_len + 1) & (tgt <= cfg.max_len + 1)  # eos comes on top
        self.rows = np.flatnonzero(fits).astype(np.int32)
        if not len(self.rows):
            raise UserError(f"no training pair has at most {cfg.max_len} tokens a side: raise data.max_len")
        self.epoch, self.start = 0, 0
        self._planned: tuple[int, list[np.ndarray]] | None = None

    def batches(self) -> list[np.ndarray]:
        """The batches of this rank in this epoch.

        Raises:
            UserError: there are fewer batches than processes.
        """
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = None  # two epochs at a time would take twice the memory
            random = np.random.default_rng((self.seed, self.epoch))
            batches = cut(self.src, self.tgt, self._order(random), self.batch_tokens)
            shuffled = random.permutation(len(batches))
            own = shuffled[self.rank : len(batches) // self.world * self.world : self.world]
            if not len(own):
                raise UserError(
                    f"{len(batches)} batches do not go round {self.world} processes: lower data.batch_tokens"
                )
            self._planned = self.epoch, [batches[i] for i in own]
        return self._planned[1]

    def _order(self, random: np.random.Generator) -> np.ndarray:
        """All rows so that neighbours are alike in both lengths: up one stripe by source length, down the next.

        The noise makes neighbours change from epoch to epoch. Without it pairs would only ever meet those of exactly
        their lengths; and without the turning round, the longest sources would be next to the shortest.
        """
        rows = random.permutation(self.rows)

        def noisy(lengths: np.ndarray) -> np.ndarray:
            return lengths[rows].astype(np.int32) * FINE + random.integers(0, NOISE, len(rows), dtype=np.int32)

        stripe = (noisy(self.tgt) + random.integers(0, STRIPE, dtype=np.int32)) // STRIPE
        within = noisy(self.src)
        within = np.where(stripe % 2, within.max(initial=0) - within, within)
        # one number a pair, its place in the permutation last: unequal numbers sort alike with every algorithm
        key = stripe.astype(np.uint64)  # and all that follows in place: there are millions
        for bits, part in ((20, within), (32, np.arange(len(rows), dtype=np.uint32))):
            key <<= np.uint64(bits)
            key |= part.view(np.uint32)
        key.sort()
        key &= np.uint64(0xFFFFFFFF)
        return rows[key.view(np.int64)]

    def __len__(self) -> int:
        return len(self.batches())

    def __iter__(self) -> Iterator[Rows]:
        for at, rows in enumerate(self.batches()[self.start :], start=self.start):
            yield Rows(rows, self.epoch, at * self.world + self.rank)


def cut(src: np.ndarray, tgt: np.ndarray, order: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Cut rows in this order into batches of at most `batch_tokens` slots: (longest src + longest tgt) x pairs."""
    src, tgt = src[order], tgt[order]
    counting = np.arange(1, batch_tokens // 2 + 1)  # every example has at least a slot a side
    batches, start = [], 0
    while start < len(order):
        here = slice(start, start + batch_tokens // int(src[start] + tgt[start]))
        longest = np.maximum.accumulate(src[here]) + np.maximum.accumulate(tgt[here])
        fits = int(np.searchsorted(longest * counting[: len(longest)], batch_tokens, side="right"))
        batches.append(order[start : start + fits])
        start += fits
    return batches


def join(src_offsets: np.ndarray, tgt_offsets: np.ndarray, begins: np.ndarray, most: int) -> np.ndarray:
    """Join consecutive pairs of a document into examples of up to `most` tokens a side, eos not counted.

    Args:
        src_offsets, tgt_offsets: where each pair's tokens begin, and at the end where the last one's end.
        begins: whether a document begins with the pair.

    Returns:
        The first pair of each example, and at the end the number of pairs. A pair that is longer stays by itself.
    """
    ends = np.append(np.flatnonzero(begins)[1:], len(begins))
    firsts, start = [], 0
    for end in ends:
        while start < end:
            firsts.append(start)
            room = min(
                np.searchsorted(side, side[start] + most, side="right") - 1 for side in (src_offsets, tgt_offsets)
            )
            start = min(max(int(room), start + 1), int(end))
    return np.array([*firsts, len(begins)])
