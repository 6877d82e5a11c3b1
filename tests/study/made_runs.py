"""Finished runs that are made up for comparisons: their hypotheses are the references without some words."""

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from rope_mt.data import toy

Make = Callable[..., str]
TEXT = toy.generate(n_train=1, n_valid=1, n_test=40).test
SRC, REF = ([pair[side] for pair in TEXT] for side in (0, 1))


def without_words(rate: float, seed: int) -> list[str]:
    """The references without a part of their words."""
    rng = random.Random(seed)
    return [" ".join(word for word in line.split() if rng.random() >= rate) for line in REF]


def csv_rows(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(path.read_text(encoding="utf-8").splitlines())]


def by_label(rows: Sequence[dict]) -> dict[str, dict]:
    return {row["label"]: row for row in rows}
