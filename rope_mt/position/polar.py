"""Position as the phase of queries and keys, and content as their magnitude."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.config.position import PopeConfig
from rope_mt.position.scheme import AttentionShape, PositionScheme


class PopePosition(PositionScheme):
    """Scores are the sum over features c of softplus(q_c) softplus(k_c) cos((n - m) theta_c + delta_c).

    PoPE: Gopalakrishnan et al. 2025 (arXiv 2509.10534). RoPE has an angle for each pair of features; here each feature
    has its own, and content cannot change a phase. The learned delta, of each layer, head and feature, lies between -2
    pi and 0 and begins at 0.
    """

    relative = True
    shared = False
    n_terms = 0.5  # scores are divided by the root of d_head, and a query has two features for each magnitude

    def __init__(self, cfg: PopeConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.theta, self.d_head = cfg.theta, shape.d_head
        self.delta = nn.Parameter(torch.zeros(shape.n_heads, 1, shape.d_head))

    def turns(self, pos: Int[Tensor, "*batch len"]) -> Float[Tensor, "*batch 1 len d_head"]:
        """The phase m * theta_c of each feature c at each position m. Always float32."""
        exponents = torch.arange(self.d_head, device=pos.device, dtype=torch.float32) / self.d_head
        return (pos.unsqueeze(-1) * self.theta**-exponents).unsqueeze(-3)

    def rotate(
        self, x: Float[Tensor, "batch both_heads len d_head"], turns: Float[Tensor, "*batch 1 len d_head"]
    ) -> Float[Tensor, "batch both_heads len twice_d_head"]:
        """Queries and keys as points: all their first coordinates, then all their second ones."""
        of_keys = turns + self.delta.clamp(-2 * math.pi, 0)
        phases = torch.cat((turns.expand_as(of_keys), of_keys), dim=-3)
        magnitudes = F.softplus(x.float())
        return torch.cat((magnitudes * phases.cos(), magnitudes * phases.sin()), dim=-1).to(x.dtype)
