"""Position as a vector added to the input of a stack, and no position at all: RoFormer eq. 3-4."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.position.scheme import PositionScheme


class NoPosition(PositionScheme):
    """Nothing is said of position: the encoder sees a bag of words, the decoder only its causal mask.

    Kazemnejad et al. 2023 call it NoPE.
    """

    relative = True


class SinusoidalPosition(PositionScheme):
    """Add p_m to x_m: RoFormer eq. 4, Vaswani et al. 2017 section 3.5."""

    def embed(self, x: Float[Tensor, "batch len d_model"], pos: Int[Tensor, "*batch len"]) -> Tensor:
        """Sines in the even features, cosines in the odd ones, wave lengths from 2 pi to 10000 * 2 pi tokens.

        Computed in float32 from `pos`, so there is no table that a long sentence could outgrow.
        """
        pairs = torch.arange(0, x.shape[-1], 2, device=x.device, dtype=torch.float32)
        angles = pos.unsqueeze(-1) * torch.exp(pairs * (-math.log(10_000.0) / x.shape[-1]))
        return x + torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).to(x.dtype)
