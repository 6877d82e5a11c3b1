"""Cleaning: named steps, each of which drops training pairs and counts them.

Some steps look at the text, the others at its length in pieces, as fairseq's preparation of WMT14 does.
"""

import hashlib
from collections import Counter

import numpy as np
from jaxtyping import Bool

from rope_mt.config.data import DataConfig
from rope_mt.data.text import normalize, oddities
from rope_mt.data.tokenizer import LONGEST_PIECE

MAX_BROKEN = 1 / 1000  # fraction of training lines that may be invalid UTF-8
LENGTHS = {  # the most pieces of a side, and the largest ratio of the longer side to the shorter one
    "standard": (1024, np.inf),  # the 4.5 million pairs of the papers, but for a few that no model here is trained on
    "fairseq": (250, 1.5),  # clean-corpus-n.perl -ratio 1.5 ... 1 250, in its prepare-wmt14en2de.sh
}


class Cleaning:
    """The steps of one configuration; `dropped` counts the pairs that each of them dropped."""

    STEPS = ("not UTF-8", "empty", "too long", "length ratio", "identical sides", "duplicate")

    def __init__(self, cfg: DataConfig) -> None:
        self.most, self.ratio = LENGTHS[cfg.clean]
        self.drop_identical, self.drop_duplicates = cfg.drop_identical, cfg.drop_duplicates
        self.dropped: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()  # pairs by what a reader does not see in them
        self._seen: set[int] = set()  # 64 bits of each pair so far: 0.3 GB for WMT14

    def text(self, src: bytes, tgt: bytes) -> tuple[str, str] | None:
        """The normalised pair, or None if it is dropped."""
        most = self.most * LONGEST_PIECE  # a line of more characters has too many pieces; they are not counted
        try:
            raw = src.decode(), tgt.decode()
        except UnicodeDecodeError:
            self.dropped["not UTF-8"] += 1
            return None
        pair = normalize(raw[0], most), normalize(raw[1], most)
        if not all(pair):
            step = "empty"
        elif max(map(len, pair)) > most:
            step = "too long"
        elif self.drop_identical and pair[0] == pair[1]:
            step = "identical sides"
        elif self.drop_duplicates and self._is_known(pair):
            step = "duplicate"
        else:
            self.unseen.update(dict.fromkeys(oddities(raw[0]) + oddities(raw[1]), 1))
            return pair
        self.dropped[step] += 1
        return None

    def _is_known(self, pair: tuple[str, str]) -> bool:
        key = int.from_bytes(hashlib.blake2b("\n".join(pair).encode(), digest_size=8).digest())
        known = key in self._seen
        self._seen.add(key)
        return known

    def fits(self, src: np.ndarray, tgt: np.ndarray) -> Bool[np.ndarray, " pairs"]:
        """Which pairs of these lengths, in pieces, are kept."""
        longer, shorter = np.maximum(src, tgt), np.minimum(src, tgt)
        short = longer <= self.most
        alike = longer <= self.ratio * shorter
        self.dropped["too long"] += int((~short).sum())
        self.dropped["length ratio"] += int((short & ~alike).sum())
        return short & alike
