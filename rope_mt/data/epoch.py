"""Which training examples make a batch: an epoch is a pure function of (seed, epoch), the same on every machine."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer
from torch.utils.data import Sampler

from rope_mt.config.data import DataConfig
from rope_mt.errors import UserError

# Lengths are counted in sixteenths of a token: noise is a whole number then, and sorting exact on every machine.
FINE = 16
NOISE = 3 * FINE // 2  # lengths are sorted after adding up to this much, other noise in every epoch
STRIPE = 2 * FINE  # pairs whose target lengths differ by less than this are sorted by source length


class Rows(NamedTuple):
    """The examples of one batch, and which batch of which epoch it is."""

    rows: np.ndarray
    epoch: int
    number: int


class EpochPlan(Sampler[Rows]):
    """The batches of one epoch: examples of similar length together, with other neighbours in every epoch.

    Args:
        src, tgt: lengths of the examples, eos counted.
        rank, world: of several processes each takes every world-th batch, all of them equally many.
        accumulate: batches of each process that make one update. A rest that is too small for one update of all
            processes is skipped in this epoch.

    Raises:
        UserError: no example is short enough.
    """

    def __init__(
        self,
        src: Integer[np.ndarray, " examples"],
        tgt: Integer[np.ndarray, " examples"],
        cfg: DataConfig,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.src, self.tgt, self.seed, self.batch_tokens = src, tgt, seed, cfg.batch_tokens
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.most = cfg.max_len + 1  # with eos
        self.rows = np.flatnonzero((src <= self.most) & (tgt <= self.most)).astype(np.int32)
        if not len(self.rows):
            raise UserError(f"no training pair has at most {cfg.max_len} tokens a side: raise data.max_len")
        self.slots = on_grid(src, self.most), on_grid(tgt, self.most)
        self.epoch, self.start = 0, 0
        self._planned: tuple[int, list[np.ndarray]] | None = None

    def batches(self) -> list[np.ndarray]:
        """The batches of this process in this epoch.

        Raises:
            UserError: there are fewer batches than one update takes.
        """
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = None  # two epochs at a time would take twice the memory
            random = np.random.default_rng((self.seed, self.epoch))
            batches = cut(*self.slots, self._order(random), self.batch_tokens)
            shuffled = random.permutation(len(batches))
            update = self.world * self.accumulate
            own = shuffled[self.rank : len(batches) // update * update : self.world]
            if not len(own):
                self._refuse(len(batches))
            self._planned = self.epoch, [batches[i] for i in own]
        return self._planned[1]

    def _refuse(self, n_batches: int) -> None:
        among, lower = [], "data.batch_tokens"
        if self.world > 1:
            among.append(f"{self.world} processes")
        if self.accumulate > 1:
            among.append(f"trainer.accumulate={self.accumulate}")
            lower += " or trainer.accumulate"
        raise UserError(f"{n_batches} batches do not go round {' with '.join(among)}: lower {lower}")

    def _order(self, random: np.random.Generator) -> np.ndarray:
        """All rows in an order in which neighbours are alike in both lengths.

        Target lengths are cut into stripes. Source lengths go up in one stripe and down in the next, so that the
        longest sources are not next to the shortest. Noise on the lengths changes the neighbours from epoch to epoch;
        without it a pair would only ever meet pairs of exactly its lengths.
        """
        rows = random.permutation(self.rows)

        def noisy(lengths: np.ndarray) -> np.ndarray:
            return lengths[rows].astype(np.int32) * FINE + random.integers(0, NOISE, len(rows), dtype=np.int32)

        # lengths beyond the bits below, some 8,190 tokens of a target and 65,530 of a source, count as equal
        stripe = np.minimum((noisy(self.tgt) + random.integers(0, STRIPE, dtype=np.int32)) // STRIPE, 2**12 - 1)
        within = np.minimum(noisy(self.src), 2**20 - 1)
        within = np.where(stripe % 2, within.max(initial=0) - within, within)
        # one number a pair, with its place last: numbers that differ sort alike with every algorithm
        key = stripe.astype(np.uint64)  # changed in place, as there are millions
        for bits, part in ((20, within), (32, np.arange(len(rows), dtype=np.uint32))):
            key <<= np.uint64(bits)
            key |= part.view(np.uint32)
        key.sort()
        key &= np.uint64(0xFFFFFFFF)
        return rows[key.view(np.int64)]

    def __len__(self) -> int:
        return len(self.batches())

    def __iter__(self) -> Iterator[Rows]:
        for i, rows in enumerate(self.batches()[self.start :], start=self.start):
            yield Rows(rows, self.epoch, i * self.world + self.rank)


def on_grid(lengths: Integer[np.ndarray, "*any"] | np.integer, most: int) -> Integer[np.ndarray, "*any"]:
    """The slots of a batch on a side whose longest example has so many tokens: a little more, at most `most`.

    Any number up to 16, even numbers up to 32, every fourth up to 64, and so on: some 3 % more slots, but few shapes of
    batches. A processor prepares kernels for each new shape, and finds them ready when the shape comes again.
    """
    step = 2 ** np.maximum(np.frexp(lengths - 1)[1] - 4, 0)
    return np.asarray(np.minimum(-(-lengths // step) * step, most), dtype=np.int32)


def cut(
    src: Integer[np.ndarray, " examples"],
    tgt: Integer[np.ndarray, " examples"],
    order: Integer[np.ndarray, " rows"],
    batch_tokens: int,
) -> list[np.ndarray]:
    """Cut rows in this order into batches of at most `batch_tokens` slots: (longest src + longest tgt) x pairs.

    A batch of 64 pairs or more, except the last, has a multiple of 8 of them: matrix products like such sizes, and
    there are fewer. A pair that is longer than the budget is a batch by itself.

    Args:
        src, tgt: lengths on the grid.
        order: of all examples, or of some.
    """
    src, tgt = src[order], tgt[order]
    counting = np.arange(1, min(batch_tokens // 2, len(order)) + 1)  # every example has at least a slot a side
    batches, start = [], 0
    while start < len(order):
        candidates = slice(start, start + max(1, batch_tokens // int(src[start] + tgt[start])))
        longest = np.maximum.accumulate(src[candidates]) + np.maximum.accumulate(tgt[candidates])
        slots = longest * counting[: len(longest)]  # of a batch that ends here
        fits = max(1, int(np.searchsorted(slots, batch_tokens, side="right")))
        if fits >= 64 and start + fits < len(order):
            fits -= fits % 8
        batches.append(order[start : start + fits])
        start += fits
    return batches


def join(
    src_offsets: Integer[np.ndarray, " bounds"],
    tgt_offsets: Integer[np.ndarray, " bounds"],
    begins: Bool[np.ndarray, " pairs"],
    most: int,
) -> Integer[np.ndarray, " firsts"]:
    """Join consecutive pairs of a document into examples of up to `most` tokens a side, eos not counted.

    Args:
        src_offsets, tgt_offsets: where the tokens of each pair begin, and at last where those of the last pair end.
        begins: whether a document begins with the pair.

    Returns:
        The first pair of each example, and at last the number of pairs. A pair that is longer stays by itself.
    """
    ends = np.append(np.flatnonzero(begins)[1:], len(begins))  # of the documents
    firsts, start = [], 0
    for end in ends:
        while start < end:
            firsts.append(start)
            fitting = [
                int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1
                for offsets in (src_offsets, tgt_offsets)
            ]
            start = min(max(min(fitting), start + 1), int(end))
    return np.array([*firsts, len(begins)])
