"""Position as a rotation of queries and keys: RoFormer eq. 12-16 and 34."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.config.position import RopeConfig
from rope_mt.position.scheme import AttentionShape, PositionScheme


class RotaryPosition(PositionScheme):
    """RoPE: each pair of features is rotated by an angle that grows with the position.

    Pairs are adjacent features (1, 2), (3, 4), ... as in eq. 15. With `layout=half` feature i is paired with feature
    i + half of the rotated ones. The two layouts are one model under a fixed permutation of the features of a head,
    but not the same checkpoint.

    Raises:
        ValueError: d_head is odd.
    """

    relative = True

    def __init__(self, cfg: RopeConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        if shape.d_head % 2:
            raise ValueError(f"rope rotates pairs of features, so d_head must be even, not {shape.d_head}")
        self.cfg = cfg

    def rotate(
        self, x: Float[Tensor, "batch heads len d_head"], pos: Int[Tensor, "*batch len"]
    ) -> Float[Tensor, "batch heads len d_head"]:
        """Rotate each feature pair (x_{2i-1}, x_{2i}) by the angle m * theta_i: RoFormer eq. 34.

        Args:
            x: queries or keys of any dtype; the angles are float32 whatever it is.
            pos: absolute position m, in tokens from the start of the sentence.

        Returns:
            The rotated x in x's dtype. Norms are kept; q·k depends on positions only through m - n (eq. 16).
        """
        pairs = self.cfg.rotated_features(x.shape[-1]) // 2
        exponents = torch.arange(pairs, device=x.device, dtype=torch.float32) / pairs
        angles = (pos.unsqueeze(-1) * self.cfg.theta**-exponents).unsqueeze(-3)  # ([batch,] 1, len, pairs)
        rotations = torch.polar(torch.ones_like(angles), angles)
        features = x[..., : 2 * pairs].to(torch.float32, memory_format=torch.contiguous_format)
        others = x[..., 2 * pairs :]
        # A pair is a complex number and its rotation a product: a third of the time of eq. 34's products on a CPU.
        if self.cfg.layout == "half":
            rotated = torch.view_as_real(torch.complex(*features.chunk(2, dim=-1)) * rotations)
            rotated = rotated.transpose(-2, -1).flatten(-2)
        else:
            rotated = torch.view_as_complex(features.unflatten(-1, (-1, 2))) * rotations
            rotated = torch.view_as_real(rotated).flatten(-2)
        return torch.cat((rotated.to(x.dtype), others), dim=-1) if others.shape[-1] else rotated.to(x.dtype)

    def rotate_cross(
        self, x: Float[Tensor, "batch heads len d_head"], pos: Int[Tensor, "*batch len"]
    ) -> Float[Tensor, "batch heads len d_head"]:
        return self.rotate(x, pos) if self.cfg.cross_attention else x
