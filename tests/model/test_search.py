"""Beam search against an exhaustive search on a tiny vocabulary."""

import itertools
from typing import Any

import pytest
import torch

import rope_mt.model.search as search_module
from rope_mt.model.search import BLOCK, LENGTH_PENALTIES, Hypothesis, beam_search, best_words, largest

BOS, EOS, VOCAB = 0, 1, 5


class Prefixes:
    """A state that remembers the sentence of each row and all tokens it has read: rows mixed up would show."""

    def __init__(self, rows: list[tuple[int, tuple[int, ...]]], sentences: list[int] | None = None) -> None:
        self.rows = rows
        self.sentences = [sentence for sentence, _ in rows] if sentences is None else sentences

    def select(self, rows: torch.Tensor, sentences: torch.Tensor | None = None) -> "Prefixes":
        remain = self.sentences if sentences is None else [self.sentences[i] for i in sentences.tolist()]
        chosen = [self.rows[row] for row in rows.tolist()]
        width = len(chosen) // len(remain)  # the rows of a sentence follow each other
        assert [sentence for sentence, _ in chosen] == [sentence for sentence in remain for _ in range(width)]
        return Prefixes(chosen, remain)


def log_probs_after(sentence: int, prefix: tuple[int, ...]) -> torch.Tensor:
    """An arbitrary but fixed distribution for each sentence and prefix."""
    seed = sentence
    for token in prefix:
        seed = seed * VOCAB + token + 7
    return (2 * torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def arbitrary(tokens: torch.Tensor, state: Prefixes) -> torch.Tensor:
    state.rows = [(s, (*prefix, token)) for (s, prefix), token in zip(state.rows, tokens.tolist(), strict=True)]
    return torch.stack([log_probs_after(s, prefix) for s, prefix in state.rows])


def search(
    sentences: list[int], beam: int, max_lens: list[int], alpha: float = 0.6, form: str = "fairseq", **others: Any
) -> list[list[Hypothesis]]:
    options = {"step": arbitrary, "logits": torch.Tensor.clone, "device": torch.device("cpu"), **others}
    return beam_search(
        state=Prefixes([(sentence, ()) for sentence in sentences]),
        max_lens=max_lens,
        beam=beam,
        penalty=lambda n: LENGTH_PENALTIES[form](n, alpha),
        vocab=VOCAB,
        bos=BOS,
        eos=EOS,
        **options,
    )


def exhaustive(sentence: int, max_len: int, alpha: float) -> list[tuple[float, list[int]]]:
    """The scores and tokens of all hypotheses, best first."""
    hypotheses = []
    for length in range(1, max_len + 1):
        for words in itertools.product([t for t in range(VOCAB) if t != EOS], repeat=length - 1):
            prefix, total = (BOS,), 0.0
            for token in (*words, EOS):
                total += float(log_probs_after(sentence, prefix)[token])
                prefix = (*prefix, token)
            hypotheses.append((total / length**alpha, list(words)))
    return sorted(hypotheses, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_a_wide_beam_equals_exhaustive_search(alpha):
    for sentence, hypotheses in enumerate(search([0, 1, 2], 200, [4] * 3, alpha)):
        expected = exhaustive(sentence, 4, alpha)
        for ours, (score, words) in zip(hypotheses, expected[: len(hypotheses)], strict=True):
            assert ours.score == pytest.approx(score, abs=1e-4)
            assert ours.tokens == words


def test_beam_1_is_greedy():
    for sentence, [hypothesis] in enumerate(search([*range(6)], 1, [9] * 6)):
        words = []
        while len(words) < 8 and (token := int(log_probs_after(sentence, (BOS, *words)).argmax())) != EOS:
            words.append(token)
        assert hypothesis.tokens == words


def test_a_sentence_is_searched_as_if_it_were_alone_and_its_hypotheses_are_sorted_distinct_and_short_enough():
    max_lens = [6, 2, 4, 1, 7]
    for sentence, hypotheses in enumerate(search([*range(5)], 3, max_lens)):
        [alone] = search([sentence], 3, [max_lens[sentence]])
        scores, tokens = [h.score for h in hypotheses], [h.tokens for h in hypotheses]
        assert tokens == [h.tokens for h in alone]
        assert scores == pytest.approx([h.score for h in alone], abs=1e-5)
        assert scores == sorted(scores, reverse=True)
        assert len({*map(tuple, tokens)}) == len(tokens) >= 1
        assert max(map(len, tokens)) < max_lens[sentence]


def test_a_sure_hypothesis_is_not_lost_to_poor_ones_that_end_earlier():
    """A model sure of a 6-token sentence, whose second choice is always to stop."""
    going_on = torch.log(torch.tensor([0.001, 0.005, 0.001, 0.001, 0.992]))
    ending = torch.log(torch.tensor([0.001, 0.996, 0.001, 0.001, 0.001]))

    def step(tokens: torch.Tensor, state: Prefixes) -> torch.Tensor:
        state.rows = [(s, (*prefix, 0)) for s, prefix in state.rows]
        return (ending if len(state.rows[0][1]) == 7 else going_on).expand(len(tokens), VOCAB)

    [[best, *_]] = search([0], 2, [20], step=step)
    assert best.tokens == [4] * 6


def test_a_hypothesis_is_as_long_as_it_must_be_and_the_best_of_those():
    ours = search([0, 1, 2], 200, [4, 3, 4], form="gnmt", min_lens=[4, 3, 2])
    assert [{len(h.tokens) for h in hypotheses} for hypotheses in ours] == [{3}, {2}, {1, 2, 3}]
    for sentence, length in ((0, 4), (1, 3)):
        total, words = next((s, words) for s, words in exhaustive(sentence, 4, 0.0) if len(words) == length - 1)
        assert ours[sentence][0].tokens == words
        assert ours[sentence][0].score == pytest.approx(total / ((5 + length) / 6) ** 0.6, abs=1e-4)


@pytest.mark.parametrize("vocab", [3, BLOCK * 4, BLOCK * 9, BLOCK * 9 + 1, BLOCK * 40 - 1])
def test_the_largest_by_blocks_are_the_largest_of_all(vocab):
    x = torch.randn(5, vocab, generator=torch.Generator().manual_seed(vocab))
    x[0, -1], x[1, 0] = 9.0, 9.0
    x[2, : vocab // 2] = -torch.inf
    for k in (1, 2, 7):
        values, words = largest(x, k)
        expected, places = x.topk(min(k, vocab))
        torch.testing.assert_close(values, expected)
        finite = values.isfinite()
        assert torch.equal(words[finite], places[finite])


def test_the_number_of_rows_computed_at_once_does_not_matter(monkeypatch):
    together = search([*range(5)], 3, [6, 2, 4, 1, 5])
    monkeypatch.setattr(search_module, "AT_ONCE", 2 * VOCAB)
    monkeypatch.setattr(search_module, "PRODUCT", 2)
    assert search([*range(5)], 3, [6, 2, 4, 1, 5]) == together


@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_the_best_words_have_their_log_probabilities_whatever_is_not_allowed(shift):
    """Row 0 must not end, though eos is by far the best; row 1 must end, though it is the worst; row 2 may do both."""
    x = 3 * torch.randn(3, BLOCK * 40, generator=torch.Generator().manual_seed(0)) + shift
    x[0, EOS], x[1, EOS] = shift + 200, shift - 20
    expected = x.double().log_softmax(-1)
    must_not_end, must_end = torch.tensor([True, False, False]), torch.tensor([False, True, False])
    values, words = best_words(torch.Tensor.clone, x, 5, EOS, must_not_end, must_end, rows_at_once=2)
    expected[0, EOS] = -torch.inf
    assert words[0].tolist() == expected[0].topk(5).indices.tolist()
    assert words[1, 0] == EOS
    assert not values[1, 1:].isfinite().any()
    assert words[2].tolist() == expected[2].topk(5).indices.tolist()
    for row, n in ((0, 5), (1, 1), (2, 5)):
        torch.testing.assert_close(values[row, :n].double(), expected[row, words[row, :n]], atol=1e-4, rtol=0)
