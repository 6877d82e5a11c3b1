"""The few shapes that the batches of a corpus have: a processor has to compile its kernels for every new one."""

import numpy as np
from jaxtyping import Integer

Shape = tuple[int, int]  # slots of each source and of each target of a batch


def choose_shapes(
    src: Integer[np.ndarray, " examples"], tgt: Integer[np.ndarray, " examples"], most: int
) -> list[Shape]:
    """Choose at most `most` shapes such that examples have little padding if each takes the smallest that holds it.

    At first there is a shape for every (source, target) length that occurs. The shape that costs the fewest slots is
    dropped, again and again: its examples go to the next larger one that holds them. The longest source with the
    longest target always stays, so that every example finds a shape. The choice depends on nothing but the lengths.

    Returns:
        From the smallest to the largest, both sides added.
    """
    src, tgt = (np.minimum(_rounded_up(side), side.max()).astype(np.int64) for side in (src, tgt))
    wide = int(tgt.max()) + 1
    occurring, counts = np.unique(np.append(src * wide + tgt, src.max() * wide + tgt.max()), return_counts=True)
    order = np.argsort(occurring // wide + occurring % wide, kind="stable")
    src, tgt, counts = occurring[order] // wide, occurring[order] % wide, counts[order]
    slots = src + tgt
    left = np.arange(len(slots))  # shapes that are not dropped; the last has no larger one and stays

    def next_larger(cells: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        """The first shape behind each of `shapes` that is left and holds the lengths of the cell."""
        holds = (src[left] >= src[cells, None]) & (tgt[left] >= tgt[cells, None]) & (left > shapes[:, None])
        return left[holds.argmax(axis=1)]

    own = left.copy()  # the shape of each pair of lengths, and the one it would have without that
    other = next_larger(own, own)
    while len(left) > most:
        cost = np.bincount(own, counts * (slots[other] - slots[own]), minlength=len(slots))
        dropped = left[cost[left[:-1]].argmin()]
        left = left[left != dropped]
        own = np.where(own == dropped, other, own)
        changed = np.flatnonzero((other == dropped) | (other == own))
        other[changed] = next_larger(changed, own[changed])
    return [(int(src[i]), int(tgt[i])) for i in left]


def _rounded_up(lengths: Integer[np.ndarray, " examples"]) -> Integer[np.ndarray, " examples"]:
    """Lengths above 32, rounded up by a 32nd at most: few enough of them to compare all with all."""
    step = 2 ** np.maximum(np.frexp(lengths - 1)[1] - 5, 0)
    return -(-lengths // step) * step
