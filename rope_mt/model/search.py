"""Greedy and beam search over a step function. It knows no model: only log-probabilities of what comes next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

S = TypeVar("S", bound="State")


@runtime_checkable
class State(Protocol):
    """What a decoder keeps between steps, a row a hypothesis."""

    def select(self: S, rows: Int[Tensor, " chosen"]) -> S: ...


@dataclass(frozen=True)
class Hypothesis:
    tokens: list[int]  # without bos and eos
    score: float  # sum of log-probabilities, eos among them, over length ** alpha


def beam_search(
    step: Callable[[Int[Tensor, " rows"], S], Float[Tensor, "rows vocab"]],
    state: S,
    max_lens: list[int],
    *,
    beam: int,
    length_penalty: float,
    bos: int,
    eos: int,
    device: torch.device,
) -> list[list[Hypothesis]]:
    """Search for the hypotheses of highest score; beam 1 is greedy search.

    A sentence is done when `beam` hypotheses have ended and what goes on scores no better than the worst of them.
    Stopping at the first `beam` that end would lose a sure translation to poor ones that happen to be shorter.

    Args:
        step: reads the last token of each row, moves the row's state on, and returns the log-probabilities of the
            token after it.
        state: one row a sentence, before the first token.
        max_lens: for each sentence the most tokens of a hypothesis, eos among them; at the limit eos is forced.
        length_penalty: alpha; a score is divided by length ** alpha, eos counted (Ott et al. 2019, fairseq's form).

    Returns:
        For each sentence its finished hypotheses, best first, at least one and at most `beam`.
    """
    active = list(range(len(max_lens)))  # sentences still searched, in the order of their rows
    finished: list[list[Hypothesis]] = [[] for _ in max_lens]
    state = state.select(torch.arange(len(active), device=device).repeat_interleave(beam))
    tokens = torch.full((len(active) * beam, 1), bos, device=device)  # (sentences * beam, length)
    scores = torch.full((len(active), beam), -torch.inf, device=device)
    scores[:, 0] = 0.0  # all beams of a sentence begin the same, so only one of them may branch
    length = 0
    while active:
        length += 1
        log_probs = step(tokens[:, -1], state).float().view(len(active), beam, -1)
        at_limit = torch.tensor([max_lens[i] <= length for i in active], device=device)
        only_eos = torch.full_like(log_probs, -torch.inf)
        only_eos[..., eos] = log_probs[..., eos]
        log_probs = torch.where(at_limit[:, None, None], only_eos, log_probs)
        vocab = log_probs.shape[-1]
        total = (scores[:, :, None] + log_probs).flatten(1)
        # of 2 * beam candidates at most `beam` end a sentence, so `beam` of them can go on
        best, flat = total.topk(min(2 * beam, total.shape[1]), dim=1)
        parent, token = flat // vocab, flat % vocab
        rows, ends = parent.tolist(), (token == eos).tolist()
        values = best.tolist()
        next_rows, next_tokens, next_scores, still = [], [], [], []
        for s, sentence in enumerate(active):
            for c, end in enumerate(ends[s][:beam]):
                if end and values[s][c] > -torch.inf:
                    said = tokens[s * beam + rows[s][c], 1:].tolist()
                    finished[sentence].append(Hypothesis(said, values[s][c] / length**length_penalty))
            kept = finished[sentence] = sorted(finished[sentence], key=lambda h: -h.score)[:beam]
            onward = [c for c, end in enumerate(ends[s]) if not end][:beam]
            hope = values[s][onward[0]] / length**length_penalty
            if max_lens[sentence] <= length or (len(kept) == beam and kept[-1].score >= hope):
                continue
            still.append(sentence)
            next_rows += [s * beam + rows[s][c] for c in onward]
            next_tokens.append(token[s, onward])
            next_scores.append(best[s, onward])
        active = still
        if active:
            chosen = torch.tensor(next_rows, device=device)
            state = state.select(chosen)
            tokens = torch.cat((tokens[chosen], torch.cat(next_tokens)[:, None]), dim=1)
            scores = torch.stack(next_scores)
    return finished
