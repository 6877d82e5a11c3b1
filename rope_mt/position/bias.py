"""Position as a number for each head and distance, added to the scores: RoFormer eq. 8."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.config.position import PositionConfig
from rope_mt.position.scheme import AttentionShape, PositionScheme

N_BUCKETS, MAX_DISTANCE = 32, 128  # Raffel et al. 2020; TUPE takes the same


def distance(q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]) -> Int[Tensor, "*batch tgt src"]:
    """n - m: how far after the query m its key n stands, negative before it."""
    return k_pos.unsqueeze(-2) - q_pos.unsqueeze(-1)


class BucketBias(nn.Module):
    """A learned number for each head and bucket of distances, as in T5.

    Half of the buckets hold one distance each, the others ever more, up to MAX_DISTANCE and beyond. A causal stack
    spends all on the past; the others give the past and the future half of them each.
    """

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        self.causal = shape.causal
        self.biases = nn.Parameter(torch.zeros(shape.n_heads, N_BUCKETS))

    def buckets(self, ahead: Int[Tensor, "*batch tgt src"]) -> Int[Tensor, "*batch tgt src"]:
        """The bucket of each distance n - m."""
        n, first = N_BUCKETS, torch.zeros_like(ahead)
        if self.causal:
            far = (-ahead).clamp(min=0)
        else:
            n //= 2
            first, far = n * (ahead > 0), ahead.abs()
        exact = n // 2
        growing = (far.clamp(min=1) / exact).log() / math.log(MAX_DISTANCE / exact) * (n - exact)
        return first + torch.where(far < exact, far, (exact + growing.long()).clamp(max=n - 1))

    def forward(
        self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]
    ) -> Float[Tensor, "*batch heads tgt src"]:
        return self.biases[:, self.buckets(distance(q_pos, k_pos))].movedim(0, -3)


class T5Position(PositionScheme):
    """b_{m,n}, a learned number for each head and bucket of distances, the same in all layers.

    Raffel et al. 2020 (arXiv 1910.10683), section 2.1. Scores are divided by sqrt(d_head) here, which T5 leaves out.
    """

    relative = True

    def __init__(self, cfg: PositionConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.bias = BucketBias(shape)

    def position_bias(
        self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]
    ) -> Float[Tensor, "*batch heads tgt src"]:
        return self.bias(q_pos, k_pos)


class AlibiPosition(PositionScheme):
    """-slope * |m - n|, nothing learned: Press et al. 2022 (arXiv 2108.12409).

    They give the causal form; the absolute value is its symmetric extension to an encoder, of which the causal form is
    the half that a decoder sees.
    """

    relative = True

    def __init__(self, cfg: PositionConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.register_buffer("slopes", torch.tensor(slopes(shape.n_heads))[:, None, None], persistent=False)
        self.slopes: Tensor

    def position_bias(
        self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]
    ) -> Float[Tensor, "*batch heads tgt src"]:
        far = distance(q_pos, k_pos).abs()
        return -self.slopes * far.unsqueeze(-3)


def slopes(n_heads: int) -> list[float]:
    """2^(-8/n), 2^(-16/n), ... for n heads.

    Where n is no power of two: those of the power of two below it, then every other one of twice that power.
    """
    power = 2 ** math.floor(math.log2(n_heads))
    of_power = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return of_power if power == n_heads else of_power + slopes(2 * power)[::2][: n_heads - power]
