"""Which training examples make a batch: an epoch is a pure function of (seed, epoch), the same on every machine."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from rope_mt.data.shapes import Shape, choose_shapes
from rope_mt.errors import UserError

# Batches have so many shapes at most. More would leave each with few batches, whose examples often met again.
MOST_SHAPES, MOST_SHAPES_IF_LARGE = 32, 48
LARGE = 50_000  # examples


class Rows(NamedTuple):
    """The examples of one batch, the shape that holds them, and which batch of which epoch it is."""

    rows: np.ndarray
    shape: Shape
    epoch: int
    number: int


class EpochPlan:
    """The batches of one epoch, which all have one of few shapes and are full, with other neighbours in every epoch.

    An example belongs to the smallest shape that holds it. What does not fill a batch of that shape goes to the next
    shape that holds it. What is left at last, less than a batch of the largest shape, makes a smaller batch.

    Args:
        src, tgt: lengths of the examples, eos counted.
        batch_tokens: slots of a batch, of both sides; a longer example is a batch by itself.
        max_len: tokens; an example that is longer on a side, eos not counted, is left out.
        rank, world: of several processes each takes every world-th batch, all of them equally many.
        accumulate: batches of each process that make one update. A rest that is too small for one update of all
            processes is skipped in this epoch; it is another one in the next.

    Raises:
        UserError: no example is short enough.
    """

    def __init__(
        self,
        src: Integer[np.ndarray, " examples"],
        tgt: Integer[np.ndarray, " examples"],
        batch_tokens: int,
        max_len: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.src, self.tgt, self.seed, self.batch_tokens = src, tgt, seed, batch_tokens
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.rows = np.flatnonzero((src <= max_len + 1) & (tgt <= max_len + 1)).astype(np.int32)
        if not len(self.rows):
            raise UserError(f"no training pair has at most {max_len} tokens a side: raise data.max_len")
        most = MOST_SHAPES_IF_LARGE if len(self.rows) >= LARGE else MOST_SHAPES
        self.shapes = choose_shapes(src[self.rows], tgt[self.rows], most)
        self.members, others = [], self.rows  # the examples of each shape
        for shape in self.shapes:
            held = self._held(others, shape)
            self.members.append(others[held])
            others = others[~held]
        self.epoch, self.start = 0, 0
        self._planned: tuple[int, list[Rows]] | None = None

    def batches(self) -> list[Rows]:
        """The batches of this process in this epoch.

        Raises:
            UserError: in the first epoch there are fewer batches than one update takes.
        """
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = None  # two epochs at a time would take twice the memory
            random = np.random.default_rng((self.seed, self.epoch))
            batches = self._deal(random)
            random.shuffle(batches)
            update = self.world * self.accumulate
            # the number of batches differs a little from epoch to epoch: a run that has begun is not refused for that
            while self.epoch and len(batches) < update and any(len(rows) > 1 for rows, _ in batches):
                largest = max(range(len(batches)), key=lambda n: len(batches[n][0]))
                rows, shape = batches.pop(largest)
                batches += [(half, shape) for half in np.array_split(rows, 2)]
            numbers = range(self.rank, len(batches) // update * update, self.world)
            if not numbers:
                self._refuse(len(batches))
            self._planned = self.epoch, [Rows(*batches[n], self.epoch, n) for n in numbers]
        return self._planned[1]

    def _refuse(self, n_batches: int) -> None:
        among, lower = [], "data.batch_tokens"
        if self.world > 1:
            among.append(f"{self.world} processes")
        if self.accumulate > 1:
            among.append(f"trainer.accumulate={self.accumulate}")
            lower += " or trainer.accumulate"
        raise UserError(f"{n_batches} batches do not go round {' with '.join(among)}: lower {lower}")

    def _deal(self, random: np.random.Generator) -> list[tuple[np.ndarray, Shape]]:
        """All rows in batches, shape after shape; the rows of a batch are drawn uniformly from those of its shape.

        A batch of 64 examples or more has a multiple of 8 of them: matrix products like such sizes.
        """
        batches, rest = [], self.rows[:0]
        for shape, members in zip(self.shapes, self.members, strict=True):
            held = self._held(rest, shape)
            rows = random.permutation(np.concatenate((members, rest[held])))
            n = max(1, self.batch_tokens // sum(shape))
            n -= n % 8 if n >= 64 else 0
            full = len(rows) // n * n
            batches += [(batch, shape) for batch in rows[:full].reshape(-1, n)]
            rest = np.concatenate((rest[~held], rows[full:]))
        return [*batches, (rest, self.shapes[-1])] if len(rest) else batches

    def _held(self, rows: Integer[np.ndarray, " rows"], shape: Shape) -> Bool[np.ndarray, " rows"]:
        return (self.src[rows] <= shape[0]) & (self.tgt[rows] <= shape[1])

    def efficiency(self) -> float:
        """Real tokens of both sides over slots, in the batches of this epoch: the rest is padding."""
        real = sum(int(self.src[batch.rows].sum() + self.tgt[batch.rows].sum()) for batch in self.batches())
        return real / sum(len(batch.rows) * sum(batch.shape) for batch in self.batches())

    def __len__(self) -> int:
        return len(self.batches())

    def __iter__(self) -> Iterator[Rows]:
        yield from self.batches()[self.start :]


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
