"""Attention: which keys a query sees, the one softmax over keys, and the layers that call the position scheme."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rope_mt.position import Placed, PositionScheme
from rope_mt.system.device import on_cpu

# Up to this many scores per sentence and head, plain matrix products are used on a CPU. Measured on two cores with
# AVX512, forward and backward of 2,048 tokens in 4 heads of 64, bf16: the products are 9 times as fast as the fused
# kernel at 16 tokens, 1.5 times (padding) or twice (causal) at 192. From 256 tokens on the kernel is as fast or faster.
EXPLICIT_UP_TO = 192 * 192
CPU_VECTOR = 16  # float32 numbers that one instruction of a CPU computes


@dataclass(frozen=True)
class Visible:
    """Which keys a query sees in one forward pass: those that meet all conditions, at least one. By default all."""

    causal: bool = False  # only the keys up to its own
    key_padding: Bool[Tensor, "batch src"] | None = None  # only where this is True: there is a token
    cached: Bool[Tensor, "batch tgt slots"] | None = None  # only these of the slots that decoding has for keys
    past: int = 0  # slots that earlier decoding steps have filled
    _made: dict[Any, Tensor | None] = field(default_factory=dict)  # masks, for all layers and steps of decoding

    def mask(self, q: Tensor, k: Tensor) -> Float[Tensor, "#batch 1 #tgt src"] | None:
        """0 where a query sees a key, or else a number so low that softmax gives 0; None where all see all."""
        key = q.shape[-2] if self.causal else 1, k.shape[-2], q.dtype
        if key not in self._made:
            self._made[key] = self._mask(*key[:2], q)
        return self._made[key]

    def select(self, sentences: Int[Tensor, " chosen"]) -> "Visible":
        """The same for these sentences alone, where only the padding of keys counts."""
        assert self.key_padding is not None
        return Visible(key_padding=self.key_padding[sentences])

    def _mask(self, tgt: int, src: int, like: Tensor) -> Tensor | None:
        seen = None
        if self.cached is not None:
            seen = self.cached.unsqueeze(1)
        elif self.causal and src > 1:
            seen = torch.ones(1, 1, tgt, src, dtype=torch.bool, device=like.device).tril()
        if self.key_padding is not None:
            tokens = self.key_padding[:, None, None, :]
            seen = tokens if seen is None else seen & tokens
        return None if seen is None else like.new_zeros(seen.shape).masked_fill_(~seen, torch.finfo(like.dtype).min)


def attend(
    q: Float[Tensor, "batch heads tgt d_head"],
    k: Float[Tensor, "batch heads src d_head"],
    v: Float[Tensor, "batch heads src d_value"],
    visible: Visible,
    bias: Float[Tensor, "*batch heads tgt src"] | None = None,
    value_term: Callable[[Tensor], Tensor | None] | None = None,
    n_terms: int | float = 1,
) -> Float[Tensor, "batch heads tgt d_value"]:
    """softmax(q·k / sqrt(n_terms * d_head) + bias) over the visible keys, times v, plus the value term.

    Queries and keys are already rotated. Every query must see a key. The softmax is computed in float32 whatever the
    dtype of q.

    Args:
        value_term: makes the term from the weights (batch, heads, tgt, src); None is no term.
    """
    tgt, src = q.shape[-2], k.shape[-2]
    scale = (n_terms * q.shape[-1]) ** -0.5
    if value_term is not None or (on_cpu(q) and tgt * src <= EXPLICIT_UP_TO):
        scores = (q @ k.transpose(-2, -1)).mul_(scale)
        if bias is not None:
            scores = scores + bias
        mask = visible.mask(q, k)
        if mask is not None:
            scores = scores.add_(mask)
        weights = softmax(scores).to(v.dtype)
        out = weights @ v
        term = value_term(weights) if value_term is not None else None
        return out if term is None else out + term
    if bias is None and visible.causal and visible.key_padding is None and visible.cached is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    added = visible.mask(q, k)
    if bias is not None:
        added = bias.to(q.dtype) if added is None else bias.to(q.dtype) + added
    return F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale)


def softmax(scores: Float[Tensor, "*rows src"]) -> Float[Tensor, "*rows src"]:
    """softmax over the last dimension in float32, whatever the dtype of the scores."""
    if on_cpu(scores) and scores.shape[-1] < CPU_VECTOR:
        weights = _ShortSoftmax.apply(scores)
        assert isinstance(weights, Tensor)
        return weights
    return scores.softmax(dim=-1, dtype=torch.float32)


class _ShortSoftmax(torch.autograd.Function):
    """Each step is computed over all rows at once: torch's kernel for a CPU loops over rows, slow if they are short."""

    @staticmethod
    def forward(ctx, scores: Tensor) -> Tensor:
        scores = scores.float()
        weights = (scores - scores.amax(dim=-1, keepdim=True)).exp_()
        weights.div_(weights.sum(dim=-1, keepdim=True))
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        (weights,) = ctx.saved_tensors
        grad = grad_outputs[0] * weights
        return grad.sub_(weights * grad.sum(dim=-1, keepdim=True))


@dataclass
class KeyValues:
    """The keys (already rotated) and values that one attention layer looks at; decoding keeps them between steps."""

    k: Float[Tensor, "batch heads src d_head"]
    v: Float[Tensor, "batch heads src d_value"]

    def select(self, sentences: Int[Tensor, " chosen"]) -> "KeyValues":
        return KeyValues(self.k.index_select(0, sentences), self.v.index_select(0, sentences))

    def append(self, new: "KeyValues", past: int, slots: int) -> "KeyValues":
        """The first `past` of these, then the new ones, then zeros up to so many slots.

        The result shares memory with these, so nothing may be appended to these again.
        """
        after, more = past + new.k.shape[2], slots - self.k.shape[2]
        k, v = (F.pad(x, (0, 0, 0, more)) if more > 0 else x for x in (self.k, self.v))
        k[:, :, past:after], v[:, :, past:after] = new.k, new.v
        return KeyValues(k, v)


def projection(d_in: int, d_out: int, parts: int = 1) -> nn.Linear:
    """`parts` projections in one matrix product, each initialised like one of its own."""
    linear = nn.Linear(d_in, parts * d_out)
    for part in linear.weight.detach().chunk(parts):
        nn.init.xavier_uniform_(part)
    nn.init.zeros_(linear.bias)
    return linear


def split_heads(
    x: Float[Tensor, "batch len projected"], parts: int, n_heads: int
) -> list[Float[Tensor, "batch heads len d_head"]]:
    """The `parts` projections that lie side by side in x, each split into heads.

    They are separated before they are transposed, so that backward writes their gradients side by side at once.
    """
    return [part.transpose(1, 2) for part in x.unflatten(-1, (parts, n_heads, -1)).unbind(2)]


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself (Vaswani et al. 2017, section 3.2). Position enters here."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = projection(d_model, d_model, parts=3)
        self.out = projection(d_model, d_model)

    def forward(
        self,
        x: Float[Tensor, "batch tgt d_model"],
        position: PositionScheme,
        placed: Placed,
        visible: Visible,
        past: KeyValues | None = None,
    ) -> tuple[Float[Tensor, "batch tgt d_model"], KeyValues]:
        """Attend to the keys in `past` and to x; return the result, and the keys and values of both."""
        qkv, q_pos, k_pos, bias = self.qkv(x), placed.q_pos, placed.k_pos, placed.bias
        if placed.turns is None:
            q, k, v = split_heads(qkv, 3, self.n_heads)
        else:  # both at once
            qk, v = qkv.unflatten(-1, (3 * self.n_heads, -1)).split((2 * self.n_heads, self.n_heads), dim=2)
            turned = position.rotate(qk.transpose(1, 2), placed.turns).transpose(1, 2)
            q, k, v = (part.transpose(1, 2) for part in (*turned.chunk(2, dim=2), v))
        kept = KeyValues(k, v)
        if past is not None:
            assert visible.cached is not None
            kept = past.append(kept, visible.past, visible.cached.shape[-1])
        content = position.content_bias(q, kept.k, q_pos, k_pos)
        if content is not None:
            bias = content if bias is None else content + bias
        value_term = partial(position.value_term, q_pos=q_pos, k_pos=k_pos) if position.has_value_term else None
        heads = attend(q, kept.k, kept.v, visible, bias, value_term, position.n_terms)
        return self.out(heads.transpose(1, 2).flatten(-2)), kept


def source_keys_values(
    layers: Sequence["CrossAttention"],
    memory: Float[Tensor, "batch src d_model"],
    schemes: Iterable[PositionScheme],
    turns: Tensor | None,
) -> list[KeyValues]:
    """Keys and values of the source for each layer, by one product: made once, however many steps decoding takes."""
    weight, bias = torch.cat([layer.kv.weight for layer in layers]), torch.cat([layer.kv.bias for layer in layers])
    parts = split_heads(F.linear(memory, weight, bias), 2 * len(layers), layers[0].n_heads)
    made = []
    for scheme, k, v in zip(schemes, parts[::2], parts[1::2], strict=True):
        k = k if turns is None else scheme.rotate(k, turns)
        # on a CPU products would copy them, at every step of decoding again
        made.append(KeyValues(k.contiguous(), v.contiguous()) if on_cpu(k) else KeyValues(k, v))
    return made


class CrossAttention(nn.Module):
    """Multi-head attention of the target to the encoded source. Position enters only where a scheme `rotates_cross`."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q = projection(d_model, d_model)
        self.kv = projection(d_model, d_model, parts=2)
        self.out = projection(d_model, d_model)

    def queries(
        self, x: Float[Tensor, "batch tgt d_model"], position: PositionScheme, turns: Tensor | None
    ) -> Float[Tensor, "batch heads tgt d_head"]:
        q = self.q(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        return q if turns is None else position.rotate(q, turns)

    def forward(
        self,
        x: Float[Tensor, "batch tgt d_model"],
        position: PositionScheme,
        turns: Tensor | None,
        source: KeyValues,
        visible: Visible,
    ) -> Float[Tensor, "batch tgt d_model"]:
        heads = attend(self.queries(x, position, turns), source.k, source.v, visible)
        return self.out(heads.transpose(1, 2).flatten(-2))
