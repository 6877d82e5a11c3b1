"""Linear attention: sums over keys, of a size that does not grow with the sentence (RoFormer eq. 17-19)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.model.attention import Visible, projection
from rope_mt.position import Placed, PositionScheme

CHUNK = 64  # tokens of a causal sum computed at once: a compromise between small products and few of them


@dataclass
class LinearState:
    """All that a decoder layer keeps of the target, always float32 and of the same size however long the target is."""

    numerator: Float[Tensor, "batch heads features d_head"]  # sum of R_n phi(k_n) v_n^T
    denominator: Float[Tensor, "batch heads features"]  # sum of phi(k_n)

    def select(self, rows: Int[Tensor, " chosen"]) -> "LinearState":
        return LinearState(self.numerator.index_select(0, rows), self.denominator.index_select(0, rows))


class EluFeatures(nn.Module):
    """phi(x) = elu(x) + 1: Katharopoulos et al. 2020 (arXiv 2006.16236), eq. 7. As many features as x has."""

    def forward(self, x: Float[Tensor, "batch heads len d_head"], queries: bool) -> Tensor:
        return F.elu(x) + 1


class FavorFeatures(nn.Module):
    """phi(x) = exp(w·x - |x|²/2) / sqrt(n): Choromanski et al. 2021 (arXiv 2009.14794), positive orthogonal features.

    x is first divided by d_head^(1/4), so that the mean of phi(q)·phi(k) over w is exp(q·k / sqrt(d_head)). The rows of
    w are orthogonal in blocks of d_head and as long as normal vectors. They are drawn once and saved in checkpoints.

    Each query's largest exponent is subtracted before exp, because eq. 18 cancels any factor of a query. Keys have no
    such subtraction: a maximum over all keys of a sentence would make a token depend on later ones. So the features of
    a very long key (at d_head 64, about 7 standard deviations per feature) underflow in float32, and a query that sees
    only such keys gets 0.
    """

    def __init__(self, d_head: int, n_features: int) -> None:
        super().__init__()
        self.scale = d_head**-0.25
        blocks = [nn.init.orthogonal_(torch.empty(d_head, d_head)) for _ in range(-(-n_features // d_head))]
        lengths = torch.randn(n_features, d_head).norm(dim=1, keepdim=True)
        self.register_buffer("directions", torch.cat(blocks)[:n_features] * lengths)
        self.directions: Tensor

    def forward(
        self, x: Float[Tensor, "batch heads len d_head"], queries: bool
    ) -> Float[Tensor, "batch heads len features"]:
        x = x * self.scale
        exponent = x @ self.directions.float().T - x.square().sum(dim=-1, keepdim=True) / 2
        if queries:
            exponent = exponent - exponent.detach().amax(dim=-1, keepdim=True)
        return exponent.exp() * len(self.directions) ** -0.5


class LinearAttention(nn.Module):
    """Multi-head attention of a sequence to itself without scores: time and memory are linear in its length.

    Queries and keys are rotated after the feature map, and only in the numerator. So the weights need not be positive,
    nor sum to 1. Output m is, by eq. 19, sum_n (R_m phi(q_m))·(R_n phi(k_n)) v_n / sum_n phi(q_m)·phi(k_n).
    """

    def __init__(self, d_model: int, n_heads: int, feature_map: str, n_features: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = projection(d_model, d_model, parts=3)
        self.out = projection(d_model, d_model)
        self.features = FavorFeatures(d_model // n_heads, n_features) if feature_map == "favor" else EluFeatures()

    def forward(
        self,
        x: Float[Tensor, "batch tgt d_model"],
        position: PositionScheme,
        placed: Placed,
        visible: Visible,
        past: LinearState | None = None,
    ) -> tuple[Float[Tensor, "batch tgt d_model"], LinearState]:
        """Attend to the tokens summed up in `past` and to x; return the result and the sums over both.

        The arguments are those of SelfAttention. Sums need neither positions of keys, which were rotated when they were
        added, nor a bias.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = self.features(q.float(), queries=True), self.features(k.float(), queries=False), v.float()
            if visible.key_padding is not None:
                k = k * visible.key_padding[:, None, :, None]
            rotated_q, rotated_k = position.rotate(q, placed.turns), position.rotate(k, placed.turns)
            if visible.causal:
                if past is not None:  # it has a row per hypothesis
                    width = len(past.denominator) // len(x)
                    q, k, v, rotated_q, rotated_k = (
                        part.unflatten(2, (width, -1)).transpose(1, 2).flatten(0, 1)
                        for part in (q, k, v, rotated_q, rotated_k)
                    )
                out, state = attend_to_past(q, k, v, rotated_q, rotated_k, past)
            else:
                state = LinearState(rotated_k.transpose(-2, -1) @ v, k.sum(dim=-2))
                out = _divide(rotated_q @ state.numerator, q @ state.denominator.unsqueeze(-1))
        return self.out(out.to(x.dtype).transpose(1, 2).reshape(x.shape)), state


def attend_to_past(
    q: Float[Tensor, "batch heads len features"],
    k: Float[Tensor, "batch heads len features"],
    v: Float[Tensor, "batch heads len d_head"],
    rotated_q: Float[Tensor, "batch heads len features"],
    rotated_k: Float[Tensor, "batch heads len features"],
    past: LinearState | None = None,
) -> tuple[Float[Tensor, "batch heads len d_head"], LinearState]:
    """Eq. 19 where a query sees the keys up to its own: chunk by chunk, with one sum over all earlier chunks."""
    outs, state = [], past
    for q_, k_, v_, rq, rk in zip(*(x.split(CHUNK, dim=-2) for x in (q, k, v, rotated_q, rotated_k)), strict=True):
        numerator = (rq @ rk.transpose(-2, -1)).tril() @ v_
        denominator = (q_ @ k_.transpose(-2, -1)).tril().sum(dim=-1, keepdim=True)
        here = LinearState(rk.transpose(-2, -1) @ v_, k_.sum(dim=-2))
        if state is not None:
            numerator = numerator + rq @ state.numerator
            denominator = denominator + q_ @ state.denominator.unsqueeze(-1)
            here = LinearState(state.numerator + here.numerator, state.denominator + here.denominator)
        state = here
        outs.append(_divide(numerator, denominator))
    assert state is not None
    return torch.cat(outs, dim=-2), state


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient; 0 where both are 0, because no key was visible or the features of all visible keys underflowed."""
    return numerator / torch.where(denominator > 0, denominator, 1)
