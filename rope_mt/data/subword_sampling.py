"""Subword regularisation: the same text in other pieces, by random numbers that are the same in every process.

SentencePiece samples too, but since its version 0.2.2 its draws depend on the process, whatever the seed: a run that
resumes would see other batches.
"""

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator

from rope_mt.data.tokenizer import EOS, LONGEST_PIECE, Tokenizer

Word = tuple[int, ...]


class SubwordSampler:
    """Draws other ids for text that is already encoded.

    - of a byte-pair encoding by BPE dropout (Provilkov et al. 2020, algorithm 1): words are merged anew, and in each
      step every possible merge is skipped with the probability `alpha`;
    - of a unigram model from all segmentations of a word (Kudo 2018), each as likely as the power `alpha` of its
      probability.
    """

    def __init__(self, tokenizer: Tokenizer, kind: str, alpha: float) -> None:
        self.alpha = alpha
        self._segment = {"bpe": self._merged, "unigram": self._drawn}[kind]
        self._texts, self._scores, bytes_ = tokenizer.pieces()
        self._bytes = frozenset(bytes_)
        known = range(EOS + 1, len(tokenizer))
        self._ids = {self._texts[i]: i for i in known if i not in self._bytes}
        self._opens = [text.startswith("▁") for text in self._texts]
        # two pieces that merge into a third; a lower id was merged earlier in training
        self._merges = {
            (self._ids[text[:n]], self._ids[text[n:]]): i
            for text, i in self._ids.items()
            for n in range(1, len(text))
            if text[:n] in self._ids and text[n:] in self._ids
        }

    def sample(self, encoded: list[list[int]], seed: int) -> list[list[int]]:
        """Other ids of the same sentences: the same for the same seed."""
        draw = random.Random(seed).random
        return [[i for word in self._words(ids) for i in self._segment(word, draw)] for ids in encoded]

    def _words(self, ids: list[int]) -> Iterator[Word]:
        """The pieces of each word: no piece reaches over a blank."""
        begins = [n for n, i in enumerate(ids) if n == 0 or self._opens[i]]
        for begin, end in itertools.pairwise((*begins, len(ids))):
            yield tuple(ids[begin:end])

    def _merged(self, word: Word, draw: Callable[[], float]) -> list[int]:
        symbols = list(self._characters(word))
        while len(symbols) > 1:
            best, place = len(self._texts), -1
            for n, pair in enumerate(itertools.pairwise(symbols)):
                if (merged := self._merges.get(pair, best)) < best and draw() >= self.alpha:
                    best, place = merged, n
            if place < 0:
                break
            symbols[place : place + 2] = [best]
        return symbols

    def _drawn(self, word: Word, draw: Callable[[], float]) -> list[int]:
        """Backwards from the end of the word, piece by piece."""
        lattice = self._lattice(word)
        drawn, end = [], len(lattice) - 1
        while end:
            point = draw()
            _, end, piece = next((way for way in lattice[end] if point < way[0]), lattice[end][-1])
            drawn.append(piece)
        return drawn[::-1]

    @functools.lru_cache(maxsize=100_000)  # noqa: B019 - a sampler lives as long as its process
    def _characters(self, word: Word) -> Word:
        """The ids of the characters of a word; bytes stay bytes."""
        parts = ((i,) if i in self._bytes else map(self._ids.__getitem__, self._texts[i]) for i in word)
        return tuple(itertools.chain.from_iterable(parts))

    @functools.lru_cache(maxsize=100_000)  # noqa: B019
    def _lattice(self, word: Word) -> list[list[tuple[float, int, int]]]:
        """For each place where a piece may end: the pieces, where they begin, and their cumulated fractions."""
        characters = self._characters(word)
        total: list[float] = [0.0]  # log of the mass of all ways to each place
        lattice: list[list[tuple[float, int, int]]] = [[]]
        for end in range(1, len(characters) + 1):
            ways = [
                (total[end - n] + self.alpha * self._scores[piece], end - n, piece)
                for n in range(1, min(end, LONGEST_PIECE) + 1)
                if (piece := self._piece(characters[end - n : end])) is not None
            ]
            top = max(way[0] for way in ways)
            mass = sum(math.exp(way[0] - top) for way in ways)
            total.append(top + math.log(mass))
            fractions = itertools.accumulate(math.exp(way[0] - top) / mass for way in ways)
            lattice.append([(upto, begin, piece) for upto, (_, begin, piece) in zip(fractions, ways, strict=True)])
        return lattice

    def _piece(self, characters: Word) -> int | None:
        """The piece that these characters make, if they make one."""
        if len(characters) == 1:
            return characters[0]
        if self._bytes.intersection(characters):
            return None
        return self._ids.get("".join(self._texts[i] for i in characters))
