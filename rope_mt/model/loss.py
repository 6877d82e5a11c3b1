"""Output layer and cross-entropy in one, so that the (tokens, vocab) logits never exist all at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Logits made at a time: they stay in a CPU's cache, and on a GPU in a small part of its memory.
LOGITS_AT_ONCE = {"cpu": 2**21, "cuda": 2**27}


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
            less = hidden.new_full((1, 1), smoothing - 1, dtype=torch.float32)
            rows = max(1, LOGITS_AT_ONCE.get(hidden.device.type, 2**24) // vocab)
            for start in range(0, n, rows):
                chunk = slice(start, start + rows)
                h, right = h_all[chunk], target[chunk, None]
                logits = (h @ w.T).float()
                probs = logits.softmax(
                    dim=-1
                )  # one fused pass; exp and logsumexp by themselves take four times as long
                log_z = logits.amax(dim=-1) - probs.amax(dim=-1).log()  # the largest probability never underflows
                hit, mean = logits.gather(1, right).squeeze(1), logits.mean(dim=-1)
                total += (log_z - (1 - smoothing) * hit - smoothing * mean).sum()
                if grad_hidden is not None and grad_weight is not None:
                    # softmax minus the smoothed target
                    grad = probs.sub_(smoothing / vocab).scatter_add_(1, right, less.expand_as(right)).to(h.dtype)
                    grad_hidden[chunk] = grad @ w
                    grad_weight += grad.T @ h
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
