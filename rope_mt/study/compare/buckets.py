"""Parts of a test set by the length of the source."""

from collections.abc import Sequence
from dataclasses import dataclass

TENS = (10, 20, 30, 40, 50, 60)  # bounds of the buckets where no test source is longer than what was trained on


@dataclass(frozen=True)
class Bucket:
    name: str  # as in a table's head: 1-14, 15, >15
    low: int
    high: int | None  # None: there is no longest
    numbers: list[int]  # of the sentences, from 0


def in_buckets(lengths: Sequence[int], upto: Sequence[int]) -> list[Bucket]:
    """Share the sentences out; every sentence is in one bucket.

    Args:
        lengths: of the sources, in the unit of the bounds. A source of length 0 is in the first bucket.
        upto: the largest length of each bucket but the last, rising from 1 or more; without any, one bucket has all.
    """
    buckets, low = [], 1
    for high in upto:
        numbers = [i for i, n in enumerate(lengths) if low <= max(n, 1) <= high]
        buckets.append(Bucket(f"{low}-{high}" if low < high else str(low), low, high, numbers))
        low = high + 1
    numbers = [i for i, n in enumerate(lengths) if low <= max(n, 1)]
    return [*buckets, Bucket(f">{low - 1}", low, None, numbers)]


def default_bounds(cap: int, longest: int) -> list[int]:
    """Multiples of what was trained on where the test set goes beyond it, else tens; none that reaches `longest`."""
    multiples = [round(cap * factor) for factor in (0.5, 1, 1.5, 2, 3)]
    wanted = multiples if cap < longest else TENS
    return sorted({bound for bound in wanted if 0 < bound < longest})
