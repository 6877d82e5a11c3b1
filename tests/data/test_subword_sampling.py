"""Sampled pieces are the same text, have the probabilities of the papers, and depend on the seed alone."""

import hashlib
import itertools
import json
import math
import random
from collections import Counter

import pytest
import sentencepiece as spm
from hypothesis import given
from hypothesis import strategies as st

from rope_mt.data import toy
from rope_mt.data.subword_sampling import SubwordSampler
from rope_mt.data.text import normalize
from rope_mt.data.tokenizer import Tokenizer, train_tokenizer

KINDS = ("bpe", "unigram")
CORPUS = [sentence for pair in toy.generate(n_train=400, n_valid=1, n_test=1).train for sentence in pair]
MODELS = {kind: Tokenizer(train_tokenizer(CORPUS, 500, kind)) for kind in KINDS}
TEXT = CORPUS[:60]
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"))
SENTENCE = ANY.map(normalize)


def sample(kind: str, sentences: list[str], alpha: float, seed: int) -> list[list[int]]:
    model = MODELS[kind]
    return SubwordSampler(model, kind, alpha).sample(model.encode(sentences), seed)


@pytest.mark.parametrize("kind", KINDS)
@given(sentences=st.lists(SENTENCE, max_size=5), alpha=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1))
def test_a_sample_of_anything_is_the_same_text(kind, sentences, alpha, seed):
    assert MODELS[kind].decode(sample(kind, sentences, alpha, seed)) == sentences


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_sample_whatever_was_drawn_before_and_another_seed_another(kind):
    model = MODELS[kind]
    sampler, ids = SubwordSampler(model, kind, 0.1), model.encode(TEXT)
    first, other = sampler.sample(ids, 5), sampler.sample(ids, 6)
    sampler.sample(ids[:3], 7)
    assert sampler.sample(ids, 5) == first != other


@pytest.mark.parametrize(("kind", "recorded"), [("bpe", "1b62890a"), ("unigram", "dcd18c12")])
def test_a_seed_gives_the_same_sample_in_every_process_for_ever(kind, recorded):
    """Recorded once: a run that was begun with an older version continues with the same batches."""
    drawn = sample(kind, TEXT, 0.2, 5)
    assert hashlib.sha256(json.dumps(drawn).encode()).hexdigest()[:8] == recorded


def test_the_more_merges_are_left_out_the_more_pieces_there_are():
    drawn = {alpha: sample("bpe", CORPUS, alpha, seed=3) for alpha in (0.0, 0.001, 0.05, 0.2, 0.5, 0.9)}
    plain = MODELS["bpe"].encode(CORPUS)
    assert drawn[0.0] == plain
    assert 0 < sum(a != b for a, b in zip(drawn[0.001], plain, strict=True)) < len(plain) / 10
    pieces = [sum(map(len, each)) for each in drawn.values()]
    assert pieces == sorted(set(pieces))


def close(found: Counter, chances: dict, draws: int) -> bool:
    """Whether counts lie within five standard deviations of what was expected."""
    off = {way: abs(found[way] - draws * p) / math.sqrt(draws * p * (1 - p) + 1) for way, p in chances.items()}
    return set(found) <= set(chances) and max(off.values()) < 5


def test_bpe_dropout_has_the_chances_of_algorithm_1():
    model = MODELS["bpe"]
    texts, _, _ = model.pieces()
    rank = {text: i for i, text in enumerate(texts)}
    chance = random.Random(0)

    def by_the_book(word: str, alpha: float) -> tuple[str, ...]:
        symbols = list(word)
        while True:
            possible = [(rank[a + b], n) for n, (a, b) in enumerate(itertools.pairwise(symbols)) if a + b in rank]
            kept = [merge for merge in possible if chance.random() >= alpha]
            if not kept:
                return tuple(symbols)
            _, n = min(kept)
            symbols[n : n + 2] = [symbols[n] + symbols[n + 1]]

    draws, alpha = 20_000, 0.3
    word = "Hund"
    expected = Counter(by_the_book(f"\u2581{word}", alpha) for _ in range(draws))
    ids = model.encode([word]) * draws
    found = Counter(tuple(texts[i] for i in way) for way in SubwordSampler(model, "bpe", alpha).sample(ids, 1))
    assert len(expected) > 3
    assert close(found, {way: n / draws for way, n in expected.items()}, draws)


def test_unigram_samples_have_the_chances_of_the_model():
    model, alpha, draws = MODELS["unigram"], 0.4, 20_000
    texts, scores, _ = model.pieces()
    score = dict(zip(texts, scores, strict=True))
    word = "\u2581sister"
    ways = []
    for cuts in itertools.product((False, True), repeat=len(word) - 1):
        bounds = [0, *(n for n, here in enumerate(cuts, start=1) if here), len(word)]
        pieces = tuple(word[a:b] for a, b in itertools.pairwise(bounds))
        if all(piece in score for piece in pieces):
            ways.append((pieces, math.exp(alpha * sum(score[piece] for piece in pieces))))
    total = sum(weight for _, weight in ways)
    drawn = SubwordSampler(model, "unigram", alpha).sample(model.encode(["sister"]) * draws, 1)
    found = Counter(tuple(texts[i] for i in way) for way in drawn)
    assert len(ways) > 3
    assert close(found, {way: weight / total for way, weight in ways}, draws)


def test_unigram_samples_are_as_long_as_those_of_sentencepiece():
    ours = sum(map(len, sample("unigram", CORPUS, 0.3, seed=2)))
    processor = spm.SentencePieceProcessor(model_proto=MODELS["unigram"].model)
    theirs = processor.encode(CORPUS, enable_sampling=True, alpha=0.3, nbest_size=-1)
    assert ours == pytest.approx(sum(map(len, theirs)), rel=0.03)
