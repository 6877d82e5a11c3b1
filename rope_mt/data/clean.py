"""Which training pairs are left out, and why: named steps, each counted.

Some look at the text, the others at its length in pieces, which is how fairseq's preparation of WMT14 measures it.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from rope_mt.config.data import DataConfig
from rope_mt.data.text import normalize
from rope_mt.data.tokenizer import LONGEST_PIECE

MAX_BROKEN = 1 / 1000  # share of training lines that may be invalid UTF-8


@dataclass(frozen=True)
class Lengths:
    """How long the sides of a pair may be, in pieces."""

    most: int
    ratio: float | None = None  # of the longer side to the shorter one


LENGTHS = {
    "standard": Lengths(1024),  # the 4.5 million pairs of the papers, but for a few that no model here is trained on
    "fairseq": Lengths(250, ratio=1.5),  # clean-corpus-n.perl -ratio 1.5 ... 1 250, in its prepare-wmt14en2de.sh
}


class Cleaning:
    """The steps of one configuration, and in `dropped` how many pairs each of them took out."""

    STEPS = ("not UTF-8", "empty", "too long", "length ratio", "identical sides", "duplicate")

    def __init__(self, cfg: DataConfig) -> None:
        self.lengths = LENGTHS[cfg.clean]
        self.identical, self.duplicates = cfg.drop_identical, cfg.drop_duplicates
        self.languages = cfg.src_lang, cfg.tgt_lang
        self.dropped: Counter[str] = Counter()
        self._seen: set[int] = set()  # of the pairs so far, 64 bits each: 0.3 GB for WMT14

    def text(self, src: bytes, tgt: bytes) -> tuple[str, str] | None:
        """The normalised pair, or None for one that is dropped."""
        most = self.lengths.most * LONGEST_PIECE  # of more characters it has more pieces, without counting them
        try:
            pair = normalize(src.decode(), most), normalize(tgt.decode(), most)
        except UnicodeDecodeError:
            return self._drop("not UTF-8")
        if not pair[0] or not pair[1]:
            return self._drop("empty")
        if max(map(len, pair)) > most:
            return self._drop("too long")
        if self.identical and pair[0] == pair[1]:
            return self._drop("identical sides")
        if self.duplicates and self._known("\n".join(pair)):
            return self._drop("duplicate")
        return pair

    def _drop(self, step: str) -> None:
        self.dropped[step] += 1

    def _known(self, pair: str) -> bool:
        mark = int.from_bytes(hashlib.blake2b(pair.encode(), digest_size=8).digest())
        known = mark in self._seen
        self._seen.add(mark)
        return known

    def fits(self, src: np.ndarray, tgt: np.ndarray) -> Bool[np.ndarray, " pairs"]:
        """Which pairs of these lengths, in pieces, are kept."""
        longer, shorter = np.maximum(src, tgt), np.minimum(src, tgt)
        short = longer <= self.lengths.most
        alike = longer <= (self.lengths.ratio or np.inf) * shorter
        self.dropped["too long"] += int((~short).sum())
        self.dropped["length ratio"] += int((short & ~alike).sum())
        return short & alike
