"""Position as an embedding of the clipped distance, in keys and in values: RoFormer eq. 5."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.config.position import RelativeConfig
from rope_mt.position.bias import distance
from rope_mt.position.scheme import AttentionShape, PositionScheme


class RelativePosition(PositionScheme):
    """Shaw et al. 2018 (arXiv 1803.02155): q·(k + a^K_{n-m}) and weights·(v + a^V_{n-m}), distances clipped.

    Each layer has its own embeddings, 2 * clip + 1 or in a decoder clip + 1, which its heads share, as in their big
    model. Their base model, from which clip is, has others for each head.
    """

    shared = False
    relative = True

    def __init__(self, cfg: RelativeConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.clip = cfg.clip
        # a decoder looks back only, so half of the distances never occur there
        self.nearest_future = 0 if shape.causal else cfg.clip
        self.keys = self._table(shape.d_head)
        self.values = self._table(shape.d_head) if cfg.values else None

    def _table(self, d_head: int) -> nn.Parameter:
        return nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.clip + self.nearest_future + 1, d_head)))

    def content_bias(
        self,
        q: Float[Tensor, "batch heads tgt d_head"],
        k: Float[Tensor, "batch heads src d_head"],
        q_pos: Int[Tensor, "*batch tgt"],
        k_pos: Int[Tensor, "*batch src"],
    ) -> Float[Tensor, "batch heads tgt src"]:
        """q·a^K / sqrt(d_head): one product with the table, then a gather by distance."""
        by_row = q @ self.keys.T.to(q.dtype) * q.shape[-1] ** -0.5
        rows = self._rows(q_pos, k_pos)
        return by_row.gather(-1, rows.expand(*q.shape[:3], k.shape[2]))

    @property
    def has_value_term(self) -> bool:
        return self.values is not None

    def value_term(
        self,
        weights: Float[Tensor, "batch heads tgt src"],
        q_pos: Int[Tensor, "*batch tgt"],
        k_pos: Int[Tensor, "*batch src"],
    ) -> Float[Tensor, "batch heads tgt d_head"]:
        """The weights summed by distance, then one product with a^V."""
        assert self.values is not None
        rows = self._rows(q_pos, k_pos).expand_as(weights)
        # in float32: many small weights lie beyond the clip, and added up one by one in bf16 most of them are lost
        wide = weights.to(torch.promote_types(weights.dtype, torch.float32))
        by_row = wide.new_zeros(*weights.shape[:3], len(self.values)).scatter_add(-1, rows, wide).to(weights.dtype)
        return by_row @ self.values.to(weights.dtype)

    def _rows(self, q_pos: Tensor, k_pos: Tensor) -> Int[Tensor, "*#batch 1 tgt src"]:
        """The row of the tables for each query and key: the distance n - m, clipped, counted from -clip."""
        return (distance(q_pos, k_pos).clamp(-self.clip, self.nearest_future) + self.clip).unsqueeze(-3)
