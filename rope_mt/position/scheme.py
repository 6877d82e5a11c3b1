"""The one abstraction of the project: the places where position can enter a Transformer."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.config.position import PositionConfig


@dataclass(frozen=True)
class AttentionShape:
    """What a scheme may know of the stack that it serves."""

    d_model: int
    n_heads: int
    causal: bool  # True in the decoder's self-attention
    n_features: int | None = None  # of a query or key that linear attention maps to another number than d_head

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads


@dataclass(frozen=True)
class Placed:
    """Positions of queries and keys, and what the scheme makes of them once for all layers of a forward pass."""

    q_pos: Int[Tensor, "*batch tgt"]
    k_pos: Int[Tensor, "*batch src"]
    bias: Float[Tensor, "*batch heads tgt src"] | None
    turns: Tensor | None


class PositionScheme(nn.Module):
    """A way of encoding position. Each hook does nothing; a scheme overrides those it needs.

    Positions are integers that the caller passes, (len,) or (batch, len), never guessed from lengths: decoding
    step t with a cache is `q_pos = [t]`, `k_pos = [0..t]`. Equation numbers are RoFormer's (arXiv 2104.09864).
    """

    shared: ClassVar[bool] = True  # one instance serves all layers of a stack; False: each layer has its own
    relative: bool = False  # scores stay the same when all positions shift: the tests hold it to its word
    rotates_cross: bool = False  # cross-attention, too, where m - n compares places in two sentences
    n_terms: ClassVar[int | float] = 1  # scores are divided by sqrt(n_terms * width of a query)
    max_len: int | None = None  # tokens of the longest sentence, its end not counted, where a table ends there

    def __init__(self, cfg: PositionConfig, shape: AttentionShape) -> None:
        super().__init__()

    @classmethod
    def acts_on_scores(cls) -> bool:
        """Whether a hook of this class needs the (tgt, src) scores, which linear attention never makes."""
        hooks = ("position_bias", "content_bias", "value_term")
        return cls.n_terms != 1 or any(getattr(cls, hook) is not getattr(PositionScheme, hook) for hook in hooks)

    def share(self, first: "PositionScheme") -> None:
        """Take from the first layer's scheme what all layers have in common, where each layer has its own scheme."""

    def embed(self, x: Float[Tensor, "batch len d_model"], pos: Int[Tensor, "*batch len"]) -> Tensor:
        """Eq. 3-4: the input of the stack with position in it, made once a stack."""
        return x

    def place(self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]) -> Placed:
        """What a forward pass hands down the layers of a stack."""
        return Placed(q_pos, k_pos, self.position_bias(q_pos, k_pos), self.turns(q_pos))

    def turns(self, pos: Int[Tensor, "*batch len"]) -> Tensor | None:
        """What `rotate` needs to know of positions, made once a stack and forward pass; None: it does nothing."""
        return None

    def rotate(self, x: Float[Tensor, "batch heads len d_head"], turns: Any) -> Tensor:
        """Eq. 14: queries and keys, turned by their position. With softmax x holds both, first all heads of queries."""
        return x

    def position_bias(self, q_pos: Int[Tensor, "*batch tgt"], k_pos: Int[Tensor, "*batch src"]) -> Tensor | None:
        """Eq. 8-9: ([batch,] heads, tgt, src) from positions alone, made once a stack and forward pass."""
        return None

    def content_bias(
        self,
        q: Float[Tensor, "batch heads tgt d_head"],
        k: Float[Tensor, "batch heads src d_head"],
        q_pos: Int[Tensor, "*batch tgt"],
        k_pos: Int[Tensor, "*batch src"],
    ) -> Tensor | None:
        """Eq. 5, 7, 10: (batch, heads, tgt, src) from queries, keys and positions; it carries its own scale."""
        return None

    def value_term(
        self,
        weights: Float[Tensor, "batch heads tgt src"],
        q_pos: Int[Tensor, "*batch tgt"],
        k_pos: Int[Tensor, "*batch src"],
    ) -> Tensor | None:
        """Eq. 5: (batch, heads, tgt, d_head), added to weights @ values. Goes with `has_value_term`."""
        return None

    @property
    def has_value_term(self) -> bool:
        """Whether attention must hand its weights to `value_term`, which rules out a fused kernel."""
        return type(self).value_term is not PositionScheme.value_term
