"""Position as a vector added to the input of a stack, and no position at all: RoFormer eq. 3-4."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.config.position import LearnedConfig
from rope_mt.position.scheme import AttentionShape, PositionScheme


def sinusoid(pos: Int[Tensor, "*batch len"], d_model: int) -> Float[Tensor, "*batch len d_model"]:
    """Sines in the even features, cosines in the odd ones, wave lengths from 2 pi to 10000 * 2 pi tokens: eq. 4.

    Computed in float32 from `pos`, so there is no table that a long sentence could outgrow.
    """
    pairs = torch.arange(0, d_model, 2, device=pos.device, dtype=torch.float32)
    angles = pos.unsqueeze(-1) * torch.exp(pairs * (-math.log(10_000.0) / d_model))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


class NoPosition(PositionScheme):
    """Nothing is said of position: the encoder sees a bag of words, the decoder only its causal mask.

    Kazemnejad et al. 2023 (arXiv 2305.19466) call it NoPE.
    """

    relative = True


class SinusoidalPosition(PositionScheme):
    """Add p_m of eq. 4 to x_m: Vaswani et al. 2017 (arXiv 1706.03762), section 3.5."""

    def embed(self, x: Float[Tensor, "batch len d_model"], pos: Int[Tensor, "*batch len"]) -> Tensor:
        return x + sinusoid(pos, x.shape[-1]).to(x.dtype)


class LearnedPosition(PositionScheme):
    """Add a learned vector p_m to x_m: eq. 3 as Gehring et al. 2017 (arXiv 1705.03122) and BERT have it."""

    def __init__(self, cfg: LearnedConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.max_len = cfg.max_len
        self.vectors = nn.Parameter(torch.empty(cfg.max_len + 1, shape.d_model))
        nn.init.normal_(self.vectors, std=shape.d_model**-0.5)

    def embed(self, x: Float[Tensor, "batch len d_model"], pos: Int[Tensor, "*batch len"]) -> Tensor:
        return x + F.embedding(pos, self.vectors).to(x.dtype)
