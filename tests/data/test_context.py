"""Longer examples: consecutive sentences of a document joined, from the marks of PREFIX.docs or by their neighbours."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from rope_mt.config.data import DataConfig
from rope_mt.data import toy
from rope_mt.data.batches import PairDataset, training_pairs
from rope_mt.data.prepare import prepare
from rope_mt.errors import UserError

LENGTHS = [3, 1, 17, 40, 2, 60, 7]  # sentences of each document


@pytest.fixture(scope="module")
def sides() -> list[list[str]]:
    corpus = toy.generate(n_train=sum(LENGTHS), n_valid=1, n_test=1)
    return [list(side) for side in zip(*corpus.train, strict=True)]


def config(folder: Path, sides: list[list[str]], docs: bool, **settings) -> DataConfig:
    for lang, lines in zip(("en", "de"), sides, strict=True):
        (folder / f"text.{lang}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    if docs:
        firsts = itertools.accumulate([1, *LENGTHS[:-1]])
        marks = (f"{first}\t{n}\tdocument {first}\n" for first, n in zip(firsts, LENGTHS, strict=True))
        (folder / "text.docs").write_text("".join(marks))
    prefix = str(folder / "text")
    return DataConfig("files", prefix, prefix, prefix, vocab_size=600, dir=str(folder / "data"), **settings)


def examples(cfg: DataConfig) -> tuple[PairDataset, list[list[str]]]:
    """The training examples, and the text of both sides of each."""
    prepared = prepare(cfg)
    pairs = training_pairs(cfg, prepared, seed=1)
    rows = np.arange(len(pairs.src.lengths))
    return pairs, [prepared.tokenizer().decode(side.some(rows)) for side in (pairs.src, pairs.tgt)]


@pytest.mark.parametrize("docs", [True, False])
def test_examples_are_consecutive_sentences_of_one_document(tmp_path, sides, docs):
    pairs, joined = examples(config(tmp_path, sides, docs, context_tokens=150))
    assert max(pairs.src.lengths.max(), pairs.tgt.lengths.max()) <= 151  # eos on top
    ends = {*itertools.accumulate(LENGTHS)} if docs else {sum(LENGTHS)}
    at, seen = 0, set()
    for src, tgt in zip(*joined, strict=True):
        n = next(n for n in itertools.count(1) if " ".join(sides[0][at : at + n]) == src)
        assert tgt == " ".join(sides[1][at : at + n])
        assert not ends & set(range(at + 1, at + n))
        at += n
        seen.add(n)
    assert at == sum(LENGTHS)
    assert max(seen) > 2


def test_a_dropped_sentence_is_no_neighbour(tmp_path, sides):
    gap = 5
    broken = [[*side] for side in sides]
    broken[0][gap] = ""
    _, (sources, _) = examples(config(tmp_path, broken, docs=False, context_tokens=200, max_len=256))
    assert sources[0] == " ".join(sides[0][:gap])
    assert sources[1].startswith(sides[0][gap + 1])


def test_without_context_every_pair_is_an_example(tmp_path, sides):
    _, texts = examples(config(tmp_path, sides, docs=True))
    assert texts == sides


def test_context_beyond_the_longest_example_is_refused(tmp_path, sides):
    with pytest.raises(UserError, match="max_len must be at least 300"):
        config(tmp_path, sides, docs=False, context_tokens=300)


def test_documents_of_real_text_stay_apart(tmp_path, corpora):
    prefix = str(corpora / "train" / "ted-iwslt17-dev.en-de")
    cfg = DataConfig("ted", prefix, prefix, prefix, vocab_size=8000, context_tokens=512, max_len=512, dir=str(tmp_path))
    pairs, (sources, _) = examples(cfg)
    assert pairs.src.lengths.max() <= 513
    assert np.mean(pairs.src.lengths) > 300
    again, _ = examples(DataConfig(**{**vars(cfg), "context_tokens": None}))
    assert sum(pairs.src.lengths - 1) == sum(again.src.lengths - 1)
    begins = np.flatnonzero(prepare(cfg).map("begins"))
    assert {int(again.src.offsets[at]) for at in begins} <= {*pairs.src.offsets.tolist()}
    assert len(begins) == 93
    assert len(sources) > 93
