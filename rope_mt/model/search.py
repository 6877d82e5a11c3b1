"""Greedy and beam search over a step function. It knows no model: only log-probabilities of what comes next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

S = TypeVar("S", bound="State")

BLOCK = 64  # words that the search for the best ones first looks at as one

# What the sum of log-probabilities is divided by, of n tokens with eos among them and alpha = search.length_penalty.
LENGTH_PENALTIES: dict[str, Callable[[int, float], float]] = {
    "fairseq": lambda n, alpha: n**alpha,  # Ott et al. 2019 (arXiv 1904.01038)
    "gnmt": lambda n, alpha: ((5 + n) / 6) ** alpha,  # Wu et al. 2016 (arXiv 1609.08144), eq. 14
}


@runtime_checkable
class State(Protocol):
    """What a decoder keeps between steps: a row a hypothesis, those of a sentence one behind the other."""

    def select(self: S, rows: Int[Tensor, " hypotheses"], sentences: Int[Tensor, " sentences"] | None = None) -> S: ...


@dataclass(frozen=True)
class Hypothesis:
    tokens: list[int]  # without bos and eos
    score: float  # sum of log-probabilities, eos among them, over the length penalty


def beam_search(
    step: Callable[[Int[Tensor, " rows"], S], Float[Tensor, "rows vocab"]],
    state: S,
    max_lens: list[int],
    *,
    beam: int,
    penalty: Callable[[int], float],
    bos: int,
    eos: int,
    device: torch.device,
    min_lens: list[int] | None = None,
) -> list[list[Hypothesis]]:
    """Search for the hypotheses of highest score; beam 1 is greedy search.

    A sentence is done, and leaves the batch, when `beam` hypotheses have ended and what goes on scores no better than
    the worst of them. Stopping at the first `beam` that end would lose a sure translation to poor ones that happen to
    be shorter.

    Args:
        step: reads the last token of each row, moves the row's state on, and returns the log-probabilities of the
            token after it.
        state: one row a sentence, before the first token. Its `select` is given the rows that go on, and when
            sentences have left which remain.
        max_lens: for each sentence the most tokens of a hypothesis, eos among them; at the limit eos is forced.
        penalty: what a score of so many tokens, eos counted, is divided by: one of LENGTH_PENALTIES with its alpha.
        min_lens: for each sentence the fewest tokens of a hypothesis, eos among them; before, it cannot end.

    Returns:
        For each sentence its finished hypotheses, best first, at least one and at most `beam`.
    """
    active = list(range(len(max_lens)))  # sentences still searched, in the order of their rows
    finished: list[list[Hypothesis]] = [[] for _ in max_lens]
    longest = torch.tensor(max_lens, device=device)
    shortest = torch.tensor(min_lens or [1] * len(max_lens), device=device)
    worst = torch.full((len(active),), -torch.inf, device=device)  # of the `beam` best that ended, if so many have
    tokens = torch.full((len(active), 1), bos, device=device)  # (sentences * width, length)
    scores = torch.zeros(len(active), 1, device=device)  # (sentences, width): one hypothesis at first, then up to beam
    length = 0
    while active:
        length += 1
        width = scores.shape[1]
        log_probs = step(tokens[:, -1], state).unflatten(0, (len(active), width))
        vocab = log_probs.shape[-1]
        if (min_lens and length < max(min_lens)) or length >= min(max_lens):
            log_probs = _within_lengths(log_probs, length, shortest, longest, eos)
        # each hypothesis can end in one way, so that of so many candidates enough can go on
        onward_width = min(beam, width * (vocab - 1))
        values, parent, token = best_candidates(scores, log_probs, onward_width + width)
        ends = token == eos
        onward = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :onward_width]  # the best that do not end
        hope = values.gather(1, onward[:, :1]).squeeze(1) / penalty(length)

        ended = ends[:, :beam] & values[:, :beam].isfinite()
        if bool(ended.any()):
            at, candidate = ended.nonzero().unbind(1)
            said = tokens[at * width + parent[at, candidate], 1:].tolist()
            ats = at.tolist()
            for row, words, value in zip(ats, said, values[at, candidate].tolist(), strict=True):
                finished[active[row]].append(Hypothesis(words, value / penalty(length)))
            for row in set(ats):
                kept = finished[active[row]] = sorted(finished[active[row]], key=lambda h: -h.score)[:beam]
                if len(kept) == beam:
                    worst[row] = kept[-1].score
        done = (longest <= length) | (worst >= hope)

        scores, parent, token = (x.gather(1, onward) for x in (values, parent, token))
        rows = torch.arange(len(active), device=device)[:, None] * width + parent
        remain = None
        if bool(done.any()):
            remain = (~done).nonzero().flatten()
            active = [active[at] for at in remain.tolist()]
            rows, token, scores = rows[remain], token[remain], scores[remain]
            longest, shortest, worst = longest[remain], shortest[remain], worst[remain]
        if active:
            state = state.select(rows.flatten(), remain)
            tokens = torch.cat((tokens[rows.flatten()], token.reshape(-1, 1)), dim=1)
    return finished


def best_candidates(
    scores: Float[Tensor, "sentences width"], log_probs: Float[Tensor, "sentences width vocab"], k: int
) -> tuple[Float[Tensor, "sentences k"], Int[Tensor, "sentences k"], Int[Tensor, "sentences k"]]:
    """The k best continuations of each sentence, best first: their scores, which hypothesis each goes on, and its word.

    Exact, but not by sorting the vocabulary: of blocks of words the k with the best maxima hold the k best words.
    """
    vocab = log_probs.shape[-1]
    whole = vocab // BLOCK * BLOCK
    if whole <= k * BLOCK:
        best, words = log_probs.topk(min(k, vocab))
    else:
        blocks = log_probs[..., :whole].unflatten(-1, (-1, BLOCK))
        chosen = blocks.amax(dim=-1).topk(k, sorted=False).indices
        within = torch.arange(BLOCK, device=chosen.device)
        words = (chosen[..., None] * BLOCK + within).flatten(2)
        words = torch.cat((words, torch.arange(whole, vocab, device=chosen.device).expand(*words.shape[:2], -1)), dim=2)
        best, at = log_probs.gather(2, words).topk(k)
        words = words.gather(2, at)
    each = best.shape[-1]
    values, flat = (scores[:, :, None] + best).flatten(1).topk(k)
    return values, flat // each, words.flatten(1).gather(1, flat)


def _within_lengths(
    log_probs: Float[Tensor, "sentences width vocab"],
    length: int,
    shortest: Int[Tensor, " sentences"],
    longest: Int[Tensor, " sentences"],
    eos: int,
) -> Float[Tensor, "sentences width vocab"]:
    """The same where a hypothesis of `length` tokens may end and go on; else eos alone is possible, or all but eos."""
    words = log_probs.masked_fill((longest <= length)[:, None, None], -torch.inf)
    words[..., eos] = log_probs[..., eos].masked_fill((length < shortest)[:, None], -torch.inf)
    return words
