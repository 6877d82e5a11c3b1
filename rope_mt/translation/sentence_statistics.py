"""Sufficient statistics of loss, chrF and BLEU, sentence by sentence: enough to study a run whose text is not at hand.

The score of any part of a test set, of any sample of its sentences, and of test sets taken together follows from sums
of these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from rope_mt.errors import UserError
from rope_mt.system.files import write_whole

ORDERS, CHAR_ORDERS = range(1, 5), range(1, 7)  # of n-grams of words and of characters
OF_BLEU = ("hyp_len", "ref_len", *(f"common_{n}" for n in ORDERS), *(f"hyp_{n}" for n in ORDERS))
OF_CHRF = tuple(f"{side}_chars_{n}" for n in CHAR_ORDERS for side in ("hyp", "ref", "common"))
COLUMNS = ("src_tokens", "document", "tgt_tokens", "nats", *OF_BLEU, *OF_CHRF)
BLEU_AT, CHRF_AT = slice(4, 4 + len(OF_BLEU)), slice(4 + len(OF_BLEU), len(COLUMNS))
HEADER = "\t".join(COLUMNS)

Sums = Float[np.ndarray, f"samples {len(COLUMNS)}"]  # of the rows of each sample of sentences


@dataclass(frozen=True)
class SentenceStatistics:
    """A row for each sentence of a test set, in their order, with the COLUMNS.

    `src_tokens` does not count eos; `document` is the number of the sentence's document, from 0; `nats` is the loss of
    the reference, summed over its `tgt_tokens`, eos among them. These two are NaN where they were not computed.
    """

    table: Float[np.ndarray, f"sentences {len(COLUMNS)}"]

    @classmethod
    def of(
        cls,
        lengths: Iterable[int],
        hypotheses: Sequence[str],
        references: Sequence[str],
        losses: Sequence[tuple[float, int]] | None = None,
        documents: Sequence[int] | None = None,
    ) -> SentenceStatistics:
        """Count n-grams of raw text: those of words in sacreBLEU's 13a tokens.

        Args:
            lengths: tokens of each source.
            losses: nats and target tokens of each sentence.
            documents: the number of each sentence's document; None: each sentence is one of its own.
        """
        n = len(hypotheses)
        of_loss: Any = losses or [(math.nan, math.nan)] * n
        words: Any = BLEU(force=True)._extract_corpus_statistics(hypotheses, [references])
        characters: Any = CHRF()._extract_corpus_statistics(hypotheses, [references])
        first = zip(lengths, range(n) if documents is None else documents, strict=True)
        rows = zip(first, of_loss, words, characters, strict=True)
        return cls(np.array([[*a, tokens, nats, *b, *c] for a, (nats, tokens), b, c in rows], dtype=np.float64))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each source."""
        return self.table[:, COLUMNS.index("src_tokens")].astype(int).tolist()

    def sums(self, part: Sequence[int] | None = None) -> Sums:
        """One sample: all sentences, or those with these numbers, from 0."""
        return (self.table if part is None else self.table[list(part)]).sum(axis=0, keepdims=True)

    def score(self, name: str, part: Sequence[int] | None = None) -> float:
        """One of the SCORES of all sentences, or of those with these numbers."""
        return float(SCORES[name](self.sums(part))[0])

    def write(self, path: Path) -> None:
        """Write a tab-separated table: a line of column names, and a line for each sentence."""
        lines = ["\t".join(f"{value:.8g}" for value in row) for row in self.table]
        write_whole(path, "\n".join([HEADER, *lines]) + "\n")

    @classmethod
    def read(cls, path: Path) -> SentenceStatistics:
        """Read a table that `write` has written.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            header, *lines = path.read_text(encoding="ascii").splitlines()
            table = np.array([line.split("\t") for line in lines], dtype=np.float64)
            if header != HEADER or table.shape != (len(lines), len(COLUMNS)):
                raise ValueError
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path} is damaged: it has no table of sufficient statistics") from error
        return cls(table)


def loss_of_sums(sums: Sums) -> Float[np.ndarray, " samples"]:
    """Nats per target token; NaN where it was not computed."""
    return sums[:, COLUMNS.index("nats")] / sums[:, COLUMNS.index("tgt_tokens")]


def chrf_of_sums(sums: Sums) -> Float[np.ndarray, " samples"]:
    """sacreBLEU's chrF2, 0 to 100: the F-score of mean precision and recall over the orders that both sides have."""
    hyp, ref, common = sums[:, CHRF_AT].reshape(-1, len(CHAR_ORDERS), 3).transpose(2, 0, 1)
    there = (hyp > 0) & (ref > 0)
    orders = np.maximum(there.sum(axis=1), 1)
    precision, recall = (np.where(there, common / np.maximum(side, 1), 0).sum(axis=1) / orders for side in (hyp, ref))
    return 100 * 5 * precision * recall / np.maximum(4 * precision + recall, 1e-16)


def bleu_of_sums(sums: Sums) -> Float[np.ndarray, " samples"]:
    """sacreBLEU's BLEU, 0 to 100."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of hypotheses without a word, which score 0
        penalty = np.exp(np.minimum(0.0, 1 - 1 / length_ratio_of_sums(sums)))
    return np.where(sums[:, BLEU_AT][:, 0] > 0, penalty, 0.0) * unpenalised_bleu_of_sums(sums)


def unpenalised_bleu_of_sums(sums: Sums) -> Float[np.ndarray, " samples"]:
    """BLEU without its brevity penalty, 0 to 100.

    Every precision of 0 is smoothed: the first counts as half an n-gram, the next as a quarter, and so on.
    """
    common, total = np.split(sums[:, BLEU_AT][:, 2:], 2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # of samples whose score is set to 0 below
        smoothing = 2.0 ** np.cumsum(common == 0, axis=1)
        precisions = 100 * np.where(common == 0, 1 / smoothing, common) / total
        scores = np.exp(np.log(precisions).mean(axis=1))
    return np.where((common == 0).all(axis=1) | (total == 0).any(axis=1), 0.0, scores)


def length_ratio_of_sums(sums: Sums) -> Float[np.ndarray, " samples"]:
    """Words of the hypotheses over words of the references; infinite or NaN where the references have no words."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[:, BLEU_AT][:, 0] / sums[:, BLEU_AT][:, 1]


SCORES = {
    "loss": loss_of_sums,
    "chrf": chrf_of_sums,
    "bleu": bleu_of_sums,
    "unpenalised bleu": unpenalised_bleu_of_sums,
    "length ratio": length_ratio_of_sums,
}
