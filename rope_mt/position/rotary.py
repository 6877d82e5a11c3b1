"""Position as a rotation of queries and keys: RoFormer eq. 12-16 and 34."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.config.position import RopeConfig
from rope_mt.position.scheme import AttentionShape, PositionScheme


class RotaryPosition(PositionScheme):
    """RoPE. Feature pairs are adjacent as in the paper's eq. 15, (1, 2), (3, 4), ..., not split in halves.

    Raises:
        ValueError: d_head is odd.
    """

    relative = True

    def __init__(self, cfg: RopeConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        if shape.d_head % 2:
            raise ValueError(f"rope turns pairs of features, so d_head must be even, not {shape.d_head}")
        self.theta = cfg.theta

    def rotate(
        self, x: Float[Tensor, "batch heads len d_head"], pos: Int[Tensor, "*batch len"]
    ) -> Float[Tensor, "batch heads len d_head"]:
        """Turn each feature pair (x_{2i-1}, x_{2i}) by the angle m * theta_i: RoFormer eq. 34.

        Args:
            x: queries or keys of any dtype; the angles are float32 whatever it is.
            pos: absolute position m, in tokens from the start of the sentence.

        Returns:
            The turned x in x's dtype. Norms are kept; q·k depends on positions only through m - n (eq. 16).
        """
        d_head = x.shape[-1]
        exponents = torch.arange(0, d_head, 2, device=x.device, dtype=torch.float32) / d_head
        angles = (pos.unsqueeze(-1) * self.theta**-exponents).unsqueeze(-3)  # ([batch,] 1, len, d_head / 2)
        cos, sin = angles.cos(), angles.sin()
        first, second = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1)
        return turned.flatten(-2).to(x.dtype)
