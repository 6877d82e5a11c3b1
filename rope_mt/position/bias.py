"""Position as a number for each head and distance, added to the scores: RoFormer eq. 8."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.config.position import AlibiConfig, FireConfig, PositionConfig
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
    """Symmetric ALiBi: -slope * |m - n|, nothing learned: Press et al. 2022 (arXiv 2108.12409).

    They give the causal form; the absolute value is its symmetric extension to an encoder, of which the causal form is
    the half that a decoder sees. A symmetric encoder cannot tell left from right. With `sides="split"` every second
    head of the encoder sees no key before the query, and every other one none after it.
    """

    relative = True

    def __init__(self, cfg: AlibiConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.split = cfg.sides == "split" and not shape.causal
        self.register_buffer("slopes", torch.tensor(slopes(shape.n_heads))[:, None, None], persistent=False)
        self.slopes: Tensor

    def position_bias(
        self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]
    ) -> Float[Tensor, "*batch heads tgt src"]:
        ahead = distance(q_pos, k_pos).unsqueeze(-3)
        bias = -self.slopes * ahead.abs()
        if self.split:
            bias[..., ::2, :, :].masked_fill_(ahead > 0, -math.inf)
            bias[..., 1::2, :, :].masked_fill_(ahead < 0, -math.inf)
        return bias


def slopes(n_heads: int) -> list[float]:
    """2^(-8/n), 2^(-16/n), ... for n heads.

    Where n is no power of two: those of the power of two below it, then every other one of twice that power.
    """
    power = 2 ** math.floor(math.log2(n_heads))
    of_power = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return of_power if power == n_heads else of_power + slopes(2 * power)[::2][: n_heads - power]


class KerplePosition(PositionScheme):
    """-r_1 log(1 + r_2 |m - n|) with two learned numbers a head: Chi et al. 2022 (arXiv 2205.09921), the log form.

    Both begin at random, as in the authors' code, which clamps them above 0; here their absolute values count.
    """

    relative = True

    def __init__(self, cfg: PositionConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.r_1 = nn.Parameter(2 * torch.rand(shape.n_heads, 1, 1))
        self.r_2 = nn.Parameter(torch.rand(shape.n_heads, 1, 1))

    def position_bias(
        self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]
    ) -> Float[Tensor, "*batch heads tgt src"]:
        far = distance(q_pos, k_pos).abs().unsqueeze(-3)
        return -self.r_1.abs() * (self.r_2.abs() * far).log1p()


class FirePosition(PositionScheme):
    """f(log(1 + c |m - n|) / log(1 + c max(L, m))) with a small network f: Li et al. 2024 (arXiv 2310.04418).

    c is learned, L is `threshold` times a learned number, and their absolute values count, as in the authors' code. All
    layers share them and f: this is their FIRE-S.
    """

    WIDTH, EPS = 32, 1e-6

    def __init__(self, cfg: FireConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.threshold = cfg.threshold
        self.f = nn.Sequential(nn.Linear(1, self.WIDTH), nn.ReLU(), nn.Linear(self.WIDTH, shape.n_heads))
        self.c, self.multiplier = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(1.0))

    def position_bias(
        self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]
    ) -> Float[Tensor, "*batch heads tgt src"]:
        with torch.autocast(q_pos.device.type, enabled=False):  # bf16 cannot tell long distances apart
            longest = torch.maximum(q_pos, (self.threshold * self.multiplier).abs()).unsqueeze(-1)
            far, longest = ((self.c.abs() * x).log1p() for x in (distance(q_pos, k_pos).abs(), longest))
            return self.f((far / (longest + self.EPS)).unsqueeze(-1)).movedim(-1, -3)
