"""Sufficient statistics of BLEU, sentence by sentence: enough to study translations whose text is not at hand.

sacreBLEU's score of any part of a test set, and its paired tests of two systems, follow from these numbers alone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.bleu import BLEU, BLEUScore

from rope_mt.errors import UserError
from rope_mt.system.files import write_whole

ORDERS = (1, 2, 3, 4)  # of n-grams
COLUMNS = ("src_tokens", "hyp_len", "ref_len", *(f"common_{n}" for n in ORDERS), *(f"hyp_{n}" for n in ORDERS))
HEADER = "\t".join(COLUMNS)


@dataclass(frozen=True)
class BleuStatistics:
    """The statistics of the sentences of a test set, in their order."""

    lengths: list[int]  # tokens of each source, without eos
    rows: list[list[int]]  # sacreBLEU's statistics of each sentence: COLUMNS without the first

    @classmethod
    def of(cls, lengths: Iterable[int], hypotheses: Sequence[str], references: Sequence[str]) -> "BleuStatistics":
        """Count words and n-grams of raw text, in sacreBLEU's 13a tokens."""
        rows: Any = BLEU(force=True)._extract_corpus_statistics(hypotheses, [references])
        return cls(list(lengths), rows)

    def part(self, numbers: Sequence[int]) -> list[list[int]]:
        """The rows of the sentences with these numbers, from 0."""
        return [self.rows[i] for i in numbers]

    def bleu(self, part: Sequence[int] | None = None) -> float:
        """The corpus score, 0 to 100, of all sentences or of those with these numbers."""
        return float(self._score(part).score)

    def bleu_unpenalised(self, part: Sequence[int] | None = None) -> float:
        """BLEU without its brevity penalty, 0 to 100; 0 where the hypotheses are empty."""
        score = self._score(part)
        return float(score.score / score.bp) if score.bp else 0.0

    def _score(self, part: Sequence[int] | None) -> BLEUScore:
        return BLEU()._aggregate_and_compute(self.rows if part is None else self.part(part))

    def length_ratio(self) -> float:
        """Words of all hypotheses over words of all references; NaN where the references have no words."""
        hyp_len, ref_len = (sum(row[side] for row in self.rows) for side in (0, 1))
        return hyp_len / ref_len if ref_len else math.nan

    def write(self, path: Path) -> None:
        """Write a tab-separated table: a line of column names, and a line for each sentence."""
        lines = ["\t".join(map(str, (n, *row))) for n, row in zip(self.lengths, self.rows, strict=True)]
        write_whole(path, "\n".join([HEADER, *lines]) + "\n")

    @classmethod
    def read(cls, path: Path) -> "BleuStatistics":
        """Read a table that `write` has written.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            header, *lines = path.read_text(encoding="ascii").splitlines()
            table = [[int(cell) for cell in line.split("\t")] for line in lines]
            if header != HEADER or any(len(row) != len(COLUMNS) for row in table):
                raise ValueError
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path} is damaged: it has no table of BLEU's sufficient statistics") from error
        return cls([row[0] for row in table], [row[1:] for row in table])


def bleu_of_sums(sums: Float[np.ndarray, "samples 10"]) -> Float[np.ndarray, " samples"]:
    """sacreBLEU's score, 0 to 100, of many samples of sentences at once, each given as the sum of its rows.

    Every precision of 0 is smoothed: the first counts as half an n-gram, the next as a quarter, and so on.
    """
    hyp_len, ref_len = sums[:, 0], sums[:, 1]
    common, total = sums[:, 2 : 2 + len(ORDERS)], sums[:, 2 + len(ORDERS) :]
    with np.errstate(divide="ignore", invalid="ignore"):  # of samples whose score is set to 0 below
        penalty = np.where(hyp_len < ref_len, np.exp(1 - ref_len / hyp_len), 1.0)
        smoothing = 2.0 ** np.cumsum(common == 0, axis=1)
        precisions = 100 * np.where(common == 0, 1 / smoothing, common) / total
        scores = penalty * np.exp(np.log(precisions).mean(axis=1))
    return np.where((common == 0).all(axis=1) | (total == 0).any(axis=1), 0.0, scores)
