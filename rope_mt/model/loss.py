"""Output layer and cross-entropy in one, so that the (tokens, vocab) logits never exist all at once."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.system.device import on_cpu

LOGITS_AT_ONCE = {"cpu": 2**24, "gpu": 2**29}  # in the precision of products
MULTIPLE = 64  # to which the number of tokens is rounded up: few shapes of products, and those that suit a GPU
LEAST = 1e-38  # probability that is told from 0 in float32 and in bfloat16


class _SmoothedCrossEntropy(torch.autograd.Function):
    """Computes the gradient together with the loss, chunk by chunk, because softmax is needed for both.

    The uniform part of the target needs the mean over the vocabulary of the logits h·w of each token. Summed over
    tokens this is (mean row of w)·(sum of all h), so no pass over the logits is made for it, nor for its gradients.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> Tensor:
        vocab, n, device = len(weight), len(target), hidden.device.type
        wants_gradient = ctx.needs_input_grad[0]
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        at_once = LOGITS_AT_ONCE["cpu" if on_cpu(hidden) else "gpu"] // vocab // MULTIPLE * MULTIPLE
        chunk = max(MULTIPLE, at_once)
        with torch.autocast(device, enabled=False):
            w = weight.to(dtype)
            rows = F.pad(hidden.to(dtype), (0, 0, 0, -n % MULTIPLE))  # a row of zeros adds nothing to any sum
            minus_uniform = w.mean(dim=0, dtype=torch.float32) * -smoothing
            summed = rows.sum(dim=0, dtype=torch.float32)
            total = minus_uniform @ summed
            grad_hidden = torch.empty_like(hidden) if wants_gradient else None
            grad_weight = summed * (-smoothing / vocab)  # of every word, until the first product is added
            minus_uniform, rows_of_chunk = minus_uniform.to(dtype), torch.arange(chunk, device=target.device)
            for start in range(0, n, chunk):
                h, right = rows[start : start + chunk], target[start : start + chunk]
                logits = h @ w.T
                of_words = logits.view(-1)  # one after the other; scatter_ would copy all of them on a CPU
                cells = torch.add(right, rows_of_chunk[: len(right)], alpha=vocab)  # rows behind these are of padding
                total.add_(of_words.index_select(0, cells).sum(dtype=torch.float32), alpha=smoothing)
                torch.softmax(logits, dim=-1, out=logits)
                p = of_words.index_select(0, cells).float()
                total -= p.clamp(min=LEAST).log().sum()
                if grad_hidden is not None:
                    of_words.index_copy_(0, cells, (p - (1 - smoothing)).to(dtype))
                    grad_hidden[start : start + chunk] = torch.addmm(minus_uniform, logits, w)[: len(right)]
                    of_chunk = logits.T @ h
                    grad_weight = grad_weight.add_(of_chunk) if start else grad_weight + of_chunk
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
    section 5.4). Products run in autocast's precision, and so are probabilities kept; sums are float32.
    """
    loss = _SmoothedCrossEntropy.apply(hidden, weight, target, smoothing)
    assert isinstance(loss, Tensor)
    return loss
