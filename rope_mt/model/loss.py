"""Output layer and cross-entropy in one, so that the (tokens, vocab) logits never exist all at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Logits made at a time, in the precision of products; and of these, taken to float32 at a time for softmax: on a CPU as
# many as its cache holds, on a GPU few beside what the logits take.
LOGITS_AT_ONCE = {"cpu": 2**24, "cuda": 2**27}
SOFTMAX_AT_ONCE = {"cpu": 2**20, "cuda": 2**25}


class _SmoothedCrossEntropy(torch.autograd.Function):
    """The gradient is made chunk by chunk together with the loss, since softmax is at hand there."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> Tensor:
        vocab, n = len(weight), len(target)
        wants_gradient = ctx.needs_input_grad[0]
        grad_hidden = torch.empty_like(hidden) if wants_gradient else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_gradient else None
        dtype = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else None
        with torch.autocast(hidden.device.type, enabled=False):
            h_all, w = hidden.to(dtype or hidden.dtype), weight.to(dtype or weight.dtype)
            total = hidden.new_zeros((), dtype=torch.float32)
            rows, few = (
                max(1, limits.get(hidden.device.type, 2**24) // vocab) for limits in (LOGITS_AT_ONCE, SOFTMAX_AT_ONCE)
            )
            scores, probs = hidden.new_empty((2, min(few, rows, n), vocab), dtype=torch.float32)
            less = hidden.new_full((1, 1), smoothing - 1, dtype=torch.float32)
            for start in range(0, n, rows):
                h = h_all[start : start + rows]
                logits = h @ w.T
                for some, right in zip(logits.split(few), target[start : start + rows, None].split(few), strict=True):
                    z, p = scores[: len(some)].copy_(some), probs[: len(some)]
                    torch.softmax(z, dim=-1, out=p)  # in one pass; exp and logsumexp take four times as long
                    log_z = z.amax(dim=-1) - p.amax(dim=-1).log()  # the largest probability never underflows
                    total += (
                        log_z - (1 - smoothing) * z.gather(1, right).squeeze(1) - smoothing * z.mean(dim=-1)
                    ).sum()
                    if wants_gradient:  # softmax minus the smoothed target, in the place of the logits
                        some.copy_(p.sub_(smoothing / vocab).scatter_add_(1, right, less.expand_as(right)))
                if grad_hidden is not None and grad_weight is not None:
                    grad_hidden[start : start + rows] = logits @ w
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
    """Mean cross-entropy of softmax(hidden @ weight.T) in nats a token, targets smoothed uniformly over the vocabulary.

    Products run in autocast's precision, softmax and sums in float32 (Szegedy et al. 2016, section 7; epsilon 0.1 in
    Vaswani et al. 2017, section 5.4).
    """
    loss = _SmoothedCrossEntropy.apply(hidden, weight, target, smoothing)
    assert isinstance(loss, Tensor)
    return loss
