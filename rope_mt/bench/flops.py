"""Floating-point operations (FLOP): how many a training step needs, and how many a second the machine can do."""

import time

import numpy as np
import torch
from jaxtyping import Int

from rope_mt.bench.steps import finish
from rope_mt.config.training import ModelConfig

TRIES = 8  # of which the fastest counts
SIDE = {"cuda": 8_192}  # of the square matrices, so that a try takes long enough to be timed
SIDE_ELSEWHERE = 2_048


def of_step(model: ModelConfig, vocab_size: int, src: Int[np.ndarray, " pairs"], tgt: Int[np.ndarray, " pairs"]) -> int:
    """FLOP of the matrix products of real tokens in a training step: 2 a multiply-add, and backward twice the forward.

    With d = d_model, f = d_ff and s and t tokens in a source and its target, the forward pass multiplies and adds

        encoder layer   s (4 d^2 + 2 d f) + 2 s^2 d                              its last term: scores, and values
        decoder layer   t (6 d^2 + 2 d f) + 2 s d^2 + 2 t^2 d + 2 t s d          summed by them
        output layer    t d vocab_size

    times in each pair. Backward makes two products of the same size out of each, one a factor. Not counted is what a
    position scheme multiplies, so that schemes can be compared, nor anything but products: softmax, norms, optimizer.
    Causal attention counts in full, although half of its scores are never used.

    Args:
        model: with softmax attention; linear attention has no scores.
        src, tgt: tokens of each pair's sides, eos counted.
    """
    d, f = model.d_model, model.d_ff
    pairs = list(zip(src.tolist(), tgt.tolist(), strict=True))
    s, t = sum(n for n, _ in pairs), sum(n for _, n in pairs)
    encoder = s * (4 * d**2 + 2 * d * f) + 2 * d * sum(n * n for n, _ in pairs)
    decoder = t * (6 * d**2 + 2 * d * f) + s * 2 * d**2 + 2 * d * sum(m * m + m * n for n, m in pairs)
    forward = 2 * (model.n_layers * (encoder + decoder) + t * d * vocab_size)
    return 3 * forward


def of_products(precision: str, device: torch.device) -> float:
    """FLOP a second of a plain product of two large square matrices, with as many threads as torch has just now."""
    side = SIDE.get(device.type, SIDE_ELSEWHERE)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    best = float("inf")
    for _ in range(TRIES):
        finish(device)
        began = time.perf_counter()
        torch.mm(a, b)
        finish(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best
