"""Parts of a test set by the length of the source."""

from bisect import bisect_left
from collections.abc import Sequence

TENS = (10, 20, 30, 40, 50, 60)  # bounds of the buckets where no test source is longer than what was trained on


def in_buckets(lengths: Sequence[int], upto: Sequence[int]) -> list[list[int]]:
    """The numbers, from 0, of the sentences in each bucket; every sentence is in one.

    Args:
        lengths: of the sources, in the unit of the bounds. A source of length 0 is in the first bucket.
        upto: the largest length of each bucket but the last, rising from 1 or more; without any, one bucket has all.
    """
    chosen: list[list[int]] = [[] for _ in range(len(upto) + 1)]
    for i, n in enumerate(lengths):
        chosen[bisect_left(upto, n)].append(i)
    return chosen


def bucket_name(low: int, high: int | None) -> str:
    """As in a table's head: 1-14, 15-28, >28."""
    if high is None:
        return f">{low - 1}"
    return f"{low}-{high}" if low < high else str(low)


def default_bounds(cap: int, longest: int) -> list[int]:
    """Multiples of what was trained on where the test set goes beyond it, else tens; none that reaches `longest`."""
    multiples = [round(cap * factor) for factor in (0.5, 1, 1.5, 2, 3)]
    wanted = multiples if cap < longest else TENS
    return sorted({bound for bound in wanted if 0 < bound < longest})
