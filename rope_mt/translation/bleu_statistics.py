"""What BLEU is made of, sentence by sentence: all that a study of translations needs where their text is not at hand.

sacreBLEU's score of any part of a test set, and its paired tests of two systems, come out of it as they do of the text.
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
HEAD = "\t".join(COLUMNS)
LARGEST = 10**6  # of a number, and of sentences


@dataclass(frozen=True)
class BleuStatistics:
    """Of the sentences of a test set, in their order."""

    lengths: list[int]  # tokens of each source, without the end of the sentence
    rows: list[list[int]]  # sacreBLEU's statistics: COLUMNS but the first

    @classmethod
    def of(cls, lengths: Iterable[int], hypotheses: Sequence[str], references: Sequence[str]) -> "BleuStatistics":
        """Count the words and n-grams of raw text, in sacreBLEU's 13a tokens."""
        rows: Any = BLEU(force=True)._extract_corpus_statistics(hypotheses, [references])
        return cls(list(lengths), rows)

    def part(self, numbers: Sequence[int]) -> list[list[int]]:
        """The rows of the sentences with these numbers, from 0."""
        return [self.rows[i] for i in numbers]

    def bleu(self, part: Sequence[int] | None = None) -> float:
        """The corpus score of all sentences, or of a part."""
        return float(self._score(part).score)

    def bleu_unpenalised(self, part: Sequence[int] | None = None) -> float:
        """BLEU without its brevity penalty: what of the translations is right, wherever they break off."""
        found = self._score(part)
        return float(found.score / found.bp) if found.bp else 0.0  # no words at all

    def _score(self, part: Sequence[int] | None) -> BLEUScore:
        return BLEU()._aggregate_and_compute(self.rows if part is None else self.part(part))

    def length_ratio(self) -> float:
        """Words of all hypotheses over words of all references; not a number where there are none of those."""
        ours, theirs = (sum(row[side] for row in self.rows) for side in (0, 1))
        return ours / theirs if theirs else math.nan

    def write(self, path: Path) -> None:
        """Tab-separated: a line of names, and a line a sentence."""
        lines = ["\t".join(map(str, (n, *row))) for n, row in zip(self.lengths, self.rows, strict=True)]
        write_whole(path, "\n".join([HEAD, *lines]) + "\n")

    @classmethod
    def read(cls, path: Path) -> "BleuStatistics":
        """What `write` has written.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            head, *lines = path.read_text(encoding="ascii").splitlines()
            if head != HEAD or not 0 < len(lines) <= LARGEST:
                raise ValueError
            table = [[int(cell) for cell in line.split("\t")] for line in lines]
            if any(len(row) != len(COLUMNS) or min(row) < 0 or max(row) > LARGEST for row in table):
                raise ValueError
            if not all(possible(row[1:]) for row in table):
                raise ValueError
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path} is damaged, it does not count what BLEU is made of") from error
        return cls([first for first, *_ in table], [rest for _, *rest in table])


def possible(row: list[int]) -> bool:
    """Whether a hypothesis and a reference exist that have this row: 5 words hold 4 pairs of neighbours, and so on."""
    hyp_len, ref_len, *counts = row
    common, total = counts[: len(ORDERS)], counts[len(ORDERS) :]
    return total == [max(hyp_len - n + 1, 0) for n in ORDERS] and all(
        found <= min(ours, max(ref_len - n + 1, 0)) for n, found, ours in zip(ORDERS, common, total, strict=True)
    )


def bleu_of_sums(sums: Float[np.ndarray, "samples 10"]) -> Float[np.ndarray, " samples"]:
    """BLEU of many samples of sentences at once, each given by the sum of its rows: sacreBLEU's, with its smoothing."""
    hyp_len, ref_len = sums[:, 0], sums[:, 1]
    common, total = sums[:, 2 : 2 + len(ORDERS)], sums[:, 2 + len(ORDERS) :]
    with np.errstate(divide="ignore", invalid="ignore"):  # of samples that end as 0 below
        penalty = np.where(hyp_len < ref_len, np.exp(1 - ref_len / hyp_len), 1.0)
        halved = 2.0 ** np.cumsum(common == 0, axis=1)  # a count of none passes for a half, the next for a quarter
        precisions = 100 * np.where(common == 0, 1 / halved, common) / total
        scores = penalty * np.exp(np.log(precisions).mean(axis=1))
    return np.where((common == 0).all(axis=1) | (total == 0).any(axis=1), 0.0, scores)
