"""Position as a rotation of queries and keys: RoFormer eq. 12-16 and 34."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.config.position import RopeConfig
from rope_mt.position.scheme import AttentionShape, PositionScheme


class RotaryPosition(PositionScheme):
    """RoPE. Feature pairs are adjacent as in eq. 15: (1, 2), (3, 4), ...

    With `layout=half` they are half of the turned features apart. The two layouts are one model under a fixed
    permutation of the features of a head, but not the same checkpoint.

    Raises:
        ValueError: d_head is odd.
    """

    relative = True

    def __init__(self, cfg: RopeConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        if shape.d_head % 2:
            raise ValueError(f"rope turns pairs of features, so d_head must be even, not {shape.d_head}")
        self.cfg = cfg

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
        pairs = self.cfg.turned(x.shape[-1]) // 2
        exponents = torch.arange(pairs, device=x.device, dtype=torch.float32) / pairs
        angles = (pos.unsqueeze(-1) * self.cfg.theta**-exponents).unsqueeze(-3)  # ([batch,] 1, len, pairs)
        turns = torch.polar(torch.ones_like(angles), angles)
        turning = x[..., : 2 * pairs].to(torch.float32, memory_format=torch.contiguous_format)
        still = x[..., 2 * pairs :]
        # a pair is a complex number, and turning it a product: on a CPU a third of the time of eq. 34's four products
        if self.cfg.layout == "half":
            turned = torch.view_as_real(torch.complex(*turning.chunk(2, dim=-1)) * turns)
            turned = turned.transpose(-2, -1).flatten(-2)
        else:
            turned = torch.view_as_complex(turning.unflatten(-1, (-1, 2))) * turns
            turned = torch.view_as_real(turned).flatten(-2)
        return torch.cat((turned.to(x.dtype), still), dim=-1) if still.shape[-1] else turned.to(x.dtype)

    def rotate_cross(
        self, x: Float[Tensor, "batch heads len d_head"], pos: Int[Tensor, "*batch len"]
    ) -> Float[Tensor, "batch heads len d_head"]:
        return self.rotate(x, pos) if self.cfg.cross_attention else x
