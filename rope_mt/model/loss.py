"""Output layer and cross-entropy in one, so that the (tokens, vocab) logits never exist all at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.system.device import on_cpu

# Logits computed at once, in the precision of products, and how many of them go through softmax at once, in float32. On
# a CPU the latter fit into its cache; on a GPU they take little memory beside the logits.
LOGITS_AT_ONCE = {"cpu": 2**24, "cuda": 2**27}
SOFTMAX_AT_ONCE = {"cpu": 2**20, "cuda": 2**25}


class _SmoothedCrossEntropy(torch.autograd.Function):
    """Computes the gradient together with the loss, chunk by chunk, because softmax is needed for both."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> Tensor:
        vocab, n, device = len(weight), len(target), hidden.device.type
        kind = "cpu" if on_cpu(hidden) else "cuda"
        wants_gradient = ctx.needs_input_grad[0]
        grad_hidden = torch.empty_like(hidden) if wants_gradient else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_gradient else None
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        chunk = max(1, LOGITS_AT_ONCE[kind] // vocab)
        piece = max(1, SOFTMAX_AT_ONCE[kind] // vocab)
        with torch.autocast(device, enabled=False):
            h_all, w = hidden.to(dtype or hidden.dtype), weight.to(dtype or weight.dtype)
            total = hidden.new_zeros((), dtype=torch.float32)
            scores, probs = hidden.new_empty((2, min(piece, chunk, n), vocab), dtype=torch.float32)
            minus_target = hidden.new_full((1, 1), smoothing - 1, dtype=torch.float32)
            for start in range(0, n, chunk):
                h = h_all[start : start + chunk]
                logits = h @ w.T
                targets = target[start : start + chunk, None]
                for part, right in zip(logits.split(piece), targets.split(piece), strict=True):
                    z, p = scores[: len(part)].copy_(part), probs[: len(part)]
                    torch.softmax(z, dim=-1, out=p)  # in one pass; exp and logsumexp take four times as long
                    log_z = z.amax(dim=-1) - p.amax(dim=-1).log()  # the largest probability never underflows
                    target_z = z.gather(1, right).squeeze(1)
                    total += (log_z - (1 - smoothing) * target_z - smoothing * z.mean(dim=-1)).sum()
                    if wants_gradient:  # softmax minus the smoothed target, written over the logits
                        part.copy_(p.sub_(smoothing / vocab).scatter_add_(1, right, minus_target.expand_as(right)))
                if grad_hidden is not None and grad_weight is not None:
                    grad_hidden[start : start + chunk] = logits @ w
                    grad_weight += logits.T @ h
        if wants_gradient:
            ctx.save_for_backward(grad_hidden, grad_weight)
            ctx.n = n
        return total / n

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grad_outputs[0] / ctx.n
        return grad_hidden * scale, grad_weight * scale, None, None


def smoothed_cross_entropy(
    hidden: Float[Tensor, "tokens d_model"],
    weight: Float[Tensor, "vocab d_model"],
    target: Int[Tensor, " tokens"],
    smoothing: float,
) -> Tensor:
    """Mean cross-entropy of softmax(hidden @ weight.T) in nats per token, with label smoothing.

    Targets are smoothed uniformly over the vocabulary: Szegedy et al. 2016, section 7 (0.1 in Vaswani et al. 2017,
    section 5.4). Products run in autocast's precision, softmax and sums in float32.
    """
    loss = _SmoothedCrossEntropy.apply(hidden, weight, target, smoothing)
    assert isinstance(loss, Tensor)
    return loss
