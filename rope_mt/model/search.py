"""Greedy and beam search over a step function. It knows no model, only log-probabilities of the next token."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rope_mt.system.device import on_cpu

S = TypeVar("S", bound="State")

LEAVING = 1 / 8  # of a batch: a new batch size costs new kernels and moved memory, more than a few idle rows
BLOCK = 64  # words whose maximum `largest` compares before the words themselves
AT_ONCE = 2**20  # logits compared at once on a CPU: more would not fit into its caches
PRODUCT = 8  # times as many are computed at once: the matrix of a large vocabulary is not read anew for few rows

# What the sum of log-probabilities is divided by: n is the number of tokens with eos, alpha is search.length_penalty.
LENGTH_PENALTIES: dict[str, Callable[[int, float], float]] = {
    "fairseq": lambda n, alpha: n**alpha,  # Ott et al. 2019 (arXiv 1904.01038)
    "gnmt": lambda n, alpha: ((5 + n) / 6) ** alpha,  # Wu et al. 2016 (arXiv 1609.08144), eq. 14
}


@runtime_checkable
class State(Protocol):
    """What a decoder keeps between steps: a row per hypothesis. The rows of a sentence follow each other."""

    def select(self: S, rows: Int[Tensor, " hypotheses"], sentences: Int[Tensor, " sentences"] | None = None) -> S: ...


@dataclass(frozen=True)
class Hypothesis:
    tokens: list[int]  # without bos and eos
    score: float  # sum of log-probabilities, that of eos included, divided by the length penalty


def beam_search(
    step: Callable[[Int[Tensor, " rows"], S], Float[Tensor, "rows features"]],
    logits: Callable[[Float[Tensor, "some features"]], Float[Tensor, "some vocab"]],
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

    A sentence is done when `beam` of its hypotheses have ended and no unfinished one scores more than the worst of
    them. A search that stopped as soon as `beam` have ended would lose a sure translation to poor ones that happen to
    be shorter. Sentences that are done leave the batch, a fraction LEAVING of it at a time.

    Args:
        step: reads the last token of each row, advances the state of the row, and returns features of the next token.
        logits: of each of `vocab` tokens from these features, for some rows at a time. They may be overwritten.
        state: one row per sentence, before the first token. Its `select` gets the rows that continue and, when
            sentences have left, the sentences that remain.
        max_lens: for each sentence the most tokens of a hypothesis with eos; at the limit eos is forced.
        penalty: the length penalty for a number of tokens with eos: one of LENGTH_PENALTIES with its alpha.
        min_lens: for each sentence the fewest tokens of a hypothesis with eos.

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
    rows_at_once = max(1, (AT_ONCE if on_cpu(scores) else 128 * AT_ONCE) // vocab)
    length = 0
    while active:
        length += 1
        width = scores.shape[1]
        features = step(tokens[:, -1], state)
        must_not_end = shortest > length if min_lens and length < max(min_lens) else None
        must_end = longest <= length if length >= min(max_lens) else None
        limits = (None if limit is None else limit.repeat_interleave(width) for limit in (must_not_end, must_end))
        # at most `width` candidates end, one per hypothesis, so among beam + width enough continue
        values, words = best_words(logits, features, beam + width, eos, *limits, rows_at_once)
        onward_width = min(beam, width * (vocab - 1))
        values = (scores[:, :, None] + values.unflatten(0, scores.shape)).flatten(1)
        values, flat = values.topk(onward_width + width)
        parent, token = flat // words.shape[1], words.view(len(active), -1).gather(1, flat)
        ends = token == eos
        onward = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :onward_width]  # the best that do not end
        hope = values.gather(1, onward[:, :1]).squeeze(1) / penalty(length)

        ended = ends[:, :beam] & values[:, :beam].isfinite() & ~done[:, None]
        if bool(ended.any()):
            row, column = ended.nonzero().unbind(1)
            prefixes, of_rows = tokens[row * width + parent[row, column], 1:].tolist(), row.tolist()
            for i, ids, value in zip(of_rows, prefixes, values[row, column].tolist(), strict=True):
                finished[active[i]].append(Hypothesis(ids, value / penalty(length)))
            for i in set(of_rows):
                best = finished[active[i]] = sorted(finished[active[i]], key=lambda h: -h.score)[:beam]
                if len(best) == beam:
                    worst[i] = best[-1].score
        done |= (longest <= length) | (worst >= hope)

        scores, parent, token = (x.gather(1, onward) for x in (values, parent, token))
        rows = torch.arange(len(active), device=device)[:, None] * width + parent
        remain = None
        if int(done.sum()) > LEAVING * len(active):
            remain = (~done).nonzero().flatten()
            active = [active[i] for i in remain.tolist()]
            rows, token, scores = rows[remain], token[remain], scores[remain]
            longest, shortest, worst, done = (x[remain] for x in (longest, shortest, worst, done))
        if active:
            state = state.select(rows.flatten(), remain)
            tokens = torch.cat((tokens[rows.flatten()], token.reshape(-1, 1)), dim=1)
    return finished


def best_words(
    logits: Callable[[Float[Tensor, "_some features"]], Float[Tensor, "_some vocab"]],
    features: Float[Tensor, "rows features"],
    k: int,
    eos: int,
    must_not_end: Bool[Tensor, " rows"] | None,
    must_end: Bool[Tensor, " rows"] | None,
    rows_at_once: int,
) -> tuple[Float[Tensor, "rows best"], Int[Tensor, "rows best"]]:
    """The k best words of each row, or all if there are fewer: their log-probabilities and their numbers.

    Args:
        must_not_end, must_end: the rows with a limit, if there are some. A row that must end has eos as its first word,
            and no other that is possible.
        rows_at_once: rows whose words are compared at the same time.
    """
    found, parts = [], features.split(PRODUCT * rows_at_once)
    for number, scores in enumerate(x for part in parts for x in logits(part).split(rows_at_once)):
        some, scores = slice(number * rows_at_once, (number + 1) * rows_at_once), scores.float()
        of_eos = scores[:, eos].clone()
        if must_not_end is not None:
            scores[:, eos].masked_fill_(must_not_end[some], -torch.inf)
        values, words = largest(scores, k)
        scores[:, eos] = of_eos
        total = log_of_sum(scores, torch.maximum(values[:, 0], of_eos))
        if must_end is not None:
            values.masked_fill_(must_end[some, None], -torch.inf)
            values[:, 0] = torch.where(must_end[some], of_eos, values[:, 0])
            words[:, 0].masked_fill_(must_end[some], eos)
        found.append((values - total[:, None], words))
    values, words = (torch.cat(of_parts) for of_parts in zip(*found, strict=True))
    return values, words


def log_of_sum(x: Float[Tensor, "rows vocab"], high: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """log(sum(exp(x))) of rows whose largest numbers are these; x is overwritten. On a CPU exp2 is faster than exp."""
    return x.sub_(high[:, None]).mul_(1 / math.log(2)).exp2_().sum(dim=1).log() + high


def largest(x: Float[Tensor, "rows vocab"], k: int) -> tuple[Float[Tensor, "rows best"], Int[Tensor, "rows best"]]:
    """topk(k) of each row, faster: the k blocks with the largest maxima contain the k largest values."""
    vocab = x.shape[1]
    whole = vocab // BLOCK * BLOCK
    if whole <= k * BLOCK:
        values, words = x.topk(min(k, vocab))
        return values, words
    chosen = x[:, :whole].unflatten(1, (-1, BLOCK)).amax(dim=2).topk(k, sorted=False).indices
    within = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=x.device)).flatten(1)
    rest = torch.arange(whole, vocab, device=x.device).expand(len(x), -1)
    words = torch.cat((within, rest), dim=1)
    values, places = x.gather(1, words).topk(k)
    return values, words.gather(1, places)
