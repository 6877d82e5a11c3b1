"""Greedy and beam search over a step function. It knows no model: only log-probabilities of what comes next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

S = TypeVar("S", bound="State")

LEAVING = 1 / 8  # of a batch: each new size costs kernels made for it and memory moved, more than a few idle rows
BLOCK = 64  # words that the search for the best ones first looks at as one
AT_ONCE = 2**22  # log-probabilities held at a time: of more a CPU's caches would forget the first

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
    step: Callable[[Int[Tensor, " rows"], S], Float[Tensor, "rows features"]],
    log_probs: Callable[[Float[Tensor, "some features"]], Float[Tensor, "some vocab"]],
    state: S,
    max_lens: list[int],
    *,
    beam: int,
    penalty: Callable[[int], float],
    vocab: int,
    bos: int,
    eos: int,
    device: torch.device,
    min_lens: list[int] | None = None,
) -> list[list[Hypothesis]]:
    """Search for the hypotheses of highest score; beam 1 is greedy search.

    A sentence is done when `beam` hypotheses have ended and what goes on scores no better than the worst of them. Those
    that are done leave the batch, a share of LEAVING at a time. Stopping at the first `beam` that end would lose a sure
    translation to poor ones that happen to be shorter.

    Args:
        step: reads the last token of each row, moves the row's state on, and returns what is known of the next one.
        log_probs: of each of `vocab` tokens as the next one, from what is known of it. Asked for some rows at a time;
            what it returns is written to.
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
    done = torch.zeros(len(active), dtype=torch.bool, device=device)
    tokens = torch.full((len(active), 1), bos, device=device)  # (sentences * width, length)
    scores = torch.zeros(len(active), 1, device=device)  # (sentences, width): one hypothesis at first, then up to beam
    length = 0
    while active:
        length += 1
        width = scores.shape[1]
        features = step(tokens[:, -1], state)
        limits = None
        if (min_lens and length < max(min_lens)) or length >= min(max_lens):
            ending, going_on = (x.repeat_interleave(width) for x in (longest <= length, shortest > length))
            limits = Limits(eos, ending, going_on)
        # each hypothesis can end in one way, so that of so many candidates enough can go on
        at_once = AT_ONCE if device.type == "cpu" else 32 * AT_ONCE
        values, words = best_words(log_probs, features.split(max(1, at_once // vocab)), beam + width, limits)
        onward_width = min(beam, width * (vocab - 1))
        values = (scores[:, :, None] + values.unflatten(0, scores.shape)).flatten(1)
        values, flat = values.topk(onward_width + width)
        parent, token = flat // words.shape[1], words.view(len(active), -1).gather(1, flat)
        ends = token == eos
        onward = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :onward_width]  # the best that do not end
        hope = values.gather(1, onward[:, :1]).squeeze(1) / penalty(length)

        ended = ends[:, :beam] & values[:, :beam].isfinite() & ~done[:, None]
        if bool(ended.any()):
            where, which = ended.nonzero().unbind(1)
            said = tokens[where * width + parent[where, which], 1:].tolist()
            for at, ids, value in zip(where.tolist(), said, values[where, which].tolist(), strict=True):
                finished[active[at]].append(Hypothesis(ids, value / penalty(length)))
            for at in set(where.tolist()):
                kept = finished[active[at]] = sorted(finished[active[at]], key=lambda h: -h.score)[:beam]
                if len(kept) == beam:
                    worst[at] = kept[-1].score
        done |= (longest <= length) | (worst >= hope)

        scores, parent, token = (x.gather(1, onward) for x in (values, parent, token))
        rows = torch.arange(len(active), device=device)[:, None] * width + parent
        remain = None
        if int(done.sum()) > LEAVING * len(active):
            remain = (~done).nonzero().flatten()
            active = [active[at] for at in remain.tolist()]
            rows, token, scores = rows[remain], token[remain], scores[remain]
            longest, shortest, worst, done = (x[remain] for x in (longest, shortest, worst, done))
        if active:
            state = state.select(rows.flatten(), remain)
            tokens = torch.cat((tokens[rows.flatten()], token.reshape(-1, 1)), dim=1)
    return finished


@dataclass(frozen=True)
class Limits:
    """Which rows must end now, and which must not."""

    eos: int
    ending: Bool[Tensor, " rows"]
    going_on: Bool[Tensor, " rows"]

    def apply(self, log_probs: Float[Tensor, "some vocab"], first: int) -> None:
        """Leave only what is allowed possible in some rows, of which `first` is the first."""
        rows = slice(first, first + len(log_probs))
        of_eos = log_probs[:, self.eos].masked_fill(self.going_on[rows], -torch.inf)
        if bool(self.ending[rows].any()):
            log_probs[self.ending[rows]] = -torch.inf
        log_probs[:, self.eos] = of_eos


def best_words(
    log_probs: Callable[[Float[Tensor, "_some features"]], Float[Tensor, "_some vocab"]],
    parts: Sequence[Float[Tensor, "_some features"]],
    k: int,
    limits: Limits | None,
) -> tuple[Float[Tensor, "rows best"], Int[Tensor, "rows best"]]:
    """The k best words of each row, or all where there are fewer: their log-probabilities, and which they are.

    Log-probabilities are made, and forgotten, part by part.
    """
    found, first = [], 0
    for part in parts:
        of_part = log_probs(part)
        if limits:
            limits.apply(of_part, first)
        found.append(largest(of_part, k))
        first += len(part)
    values, words = zip(*found, strict=True)
    return torch.cat(values), torch.cat(words)


def largest(x: Float[Tensor, "rows vocab"], k: int) -> tuple[Float[Tensor, "rows best"], Int[Tensor, "rows best"]]:
    """topk(k) of each row, without sorting it all: of its blocks the k of largest maxima hold the k largest."""
    vocab = x.shape[1]
    whole = vocab // BLOCK * BLOCK
    if whole <= k * BLOCK:
        values, words = x.topk(min(k, vocab))
        return values, words
    chosen = x[:, :whole].unflatten(1, (-1, BLOCK)).amax(dim=2).topk(k, sorted=False).indices
    within = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=x.device)).flatten(1)
    rest = torch.arange(whole, vocab, device=x.device).expand(len(x), -1)
    words = torch.cat((within, rest), dim=1)
    values, at = x.gather(1, words).topk(k)
    return values, words.gather(1, at)
