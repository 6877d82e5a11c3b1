"""Position as terms of its own in the product of query and key: RoFormer eq. 7, 9 and 10.

Expanding (x_m + p_m) W_q W_k^T (x_n + p_n)^T gives four terms (eq. 6). Each of these schemes keeps some of them and
replaces what stands for position.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.config.position import DebertaConfig, PositionConfig, TupeConfig
from rope_mt.position.absolute import sinusoid
from rope_mt.position.bias import BucketBias, distance
from rope_mt.position.scheme import AttentionShape, PositionScheme


class _ByDistance(PositionScheme):
    """What scores are made of when each distance has a vector: all vectors that can occur, and a gather among them."""

    relative = True
    shared = False

    def __init__(self, cfg: PositionConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.shape = shape

    def distances(self, pos: Int[Tensor, "*batch len"]) -> Int[Tensor, " distances"]:
        """All m - n among these positions, ascending; in a decoder, where no key follows its query, from 0.

        Positions without a batch are consecutive. For others the device is asked how far they reach.
        """
        n = pos.shape[-1] if pos.dim() == 1 else int((pos.amax(-1) - pos.amin(-1)).amax()) + 1
        return torch.arange(0 if self.shape.causal else 1 - n, n, device=pos.device)

    def pick(
        self,
        scores: Float[Tensor, "batch heads rows distances"],
        back: Int[Tensor, "*batch rows columns"],
    ) -> Float[Tensor, "batch heads rows columns"]:
        """Of each row the scores at these distances m - n, which must lie among `distances`."""
        # what a decoder may not see is masked later, and takes any score until then
        at = back.clamp(min=0) if self.shape.causal else back + scores.shape[-1] // 2
        return scores.gather(-1, at.unsqueeze(-3).expand(*scores.shape[:-1], at.shape[-1]))

    def heads(self, x: Float[Tensor, "distances d_model"]) -> Float[Tensor, "heads d_head distances"]:
        return x.unflatten(-1, (self.shape.n_heads, -1)).permute(1, 2, 0)


def _projection(d_model: int) -> nn.Linear:
    linear = nn.Linear(d_model, d_model, bias=False)
    nn.init.xavier_uniform_(linear.weight)
    return linear


class TransformerXLPosition(_ByDistance):
    """q·k + q·r_{m-n} + u·k + v·r_{m-n}, where r = W_R sinusoid(m - n): eq. 7, Dai et al. 2019 (arXiv 1901.02860).

    Each layer has its own u and v, as it has all other weights of its attention; those of Dai et al. share one pair.
    """

    def __init__(self, cfg: PositionConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.project = _projection(shape.d_model)
        self.u, self.v = (nn.Parameter(torch.zeros(shape.n_heads, 1, shape.d_head)) for _ in range(2))

    def content_bias(
        self,
        q: Float[Tensor, "batch heads tgt d_head"],
        k: Float[Tensor, "batch heads src d_head"],
        q_pos: Int[Tensor, "*batch tgt"],
        k_pos: Int[Tensor, "*batch src"],
    ) -> Float[Tensor, "batch heads tgt src"]:
        """u·k + (q + v)·r, over sqrt(d_head)."""
        r = self.heads(self.project(sinusoid(self.distances(k_pos), self.shape.d_model))).to(q.dtype)
        to_position = self.pick((q + self.v.to(q.dtype)) @ r, -distance(q_pos, k_pos))
        to_content = self.u.to(k.dtype) @ k.transpose(-2, -1)
        return (to_position + to_content) * q.shape[-1] ** -0.5


class DebertaPosition(_ByDistance):
    """q·k + q·W_{k,r} p_{m-n} + W_{q,r} p_{n-m}·k: eq. 10, He et al. 2021 (arXiv 2006.03654).

    As there, p is one table for all layers, each layer has its own projections of it, and there are three terms under
    the scale. Eq. 10 writes the content's projections for both and p_{m-n} in the last term too.
    """

    n_terms = 3

    def __init__(self, cfg: DebertaConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.clip = cfg.clip
        self.vectors = nn.Parameter(torch.empty(2 * cfg.clip, shape.d_model))
        nn.init.normal_(self.vectors, std=shape.d_model**-0.5)
        self.keys, self.queries = _projection(shape.d_model), _projection(shape.d_model)

    def share(self, first: PositionScheme) -> None:
        assert isinstance(first, DebertaPosition)
        self.vectors = first.vectors

    def content_bias(
        self,
        q: Float[Tensor, "batch heads tgt d_head"],
        k: Float[Tensor, "batch heads src d_head"],
        q_pos: Int[Tensor, "*batch tgt"],
        k_pos: Int[Tensor, "*batch src"],
    ) -> Float[Tensor, "batch heads tgt src"]:
        """Content to position and position to content, over sqrt(3 d_head)."""
        back = self.distances(k_pos)
        ahead = distance(q_pos, k_pos)
        keys = self.heads(self.keys(self._vectors(back))).to(q.dtype)
        queries = self.heads(self.queries(self._vectors(-back))).to(q.dtype)
        content_to_position = self.pick(q @ keys, -ahead)
        position_to_content = self.pick(k @ queries, -ahead.transpose(-2, -1)).transpose(-2, -1)
        return (content_to_position + position_to_content) * (self.n_terms * q.shape[-1]) ** -0.5

    def _vectors(self, distances: Int[Tensor, " distances"]) -> Float[Tensor, "distances d_model"]:
        return self.vectors[distances.clamp(-self.clip, self.clip - 1) + self.clip]


class TupePosition(PositionScheme):
    """q·k + U_q p_m·U_k p_n + b_{m-n}, the last two the same in all layers: eq. 9, Ke et al. 2021 (arXiv 2006.15595).

    Both products stand under the scale sqrt(2 d_head). This is their TUPE-R, with T5's buckets for b, and
    without what they do for [CLS], which translation has none of.
    """

    n_terms = 2

    def __init__(self, cfg: TupeConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        self.max_len, self.shape = cfg.max_len, shape
        self.vectors = nn.Parameter(torch.randn(cfg.max_len + 1, shape.d_model))
        self.queries, self.keys = _projection(shape.d_model), _projection(shape.d_model)
        self.bias = BucketBias(shape)

    def position_bias(
        self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]
    ) -> Float[Tensor, "*batch heads tgt src"]:
        queries, keys = self.queries(self.vectors[q_pos]), self.keys(self.vectors[k_pos])
        q, k = (x.unflatten(-1, (self.shape.n_heads, -1)).transpose(-3, -2) for x in (queries, keys))
        return q @ k.transpose(-2, -1) * (self.n_terms * self.shape.d_head) ** -0.5 + self.bias(q_pos, k_pos)
