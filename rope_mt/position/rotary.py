"""Position as a rotation of queries and keys: RoFormer eq. 12-16 and 34."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.config.position import RopeConfig
from rope_mt.position.scaling import amplitude, frequencies
from rope_mt.position.scheme import AttentionShape, PositionScheme
from rope_mt.system.device import on_cpu


class RotaryPosition(PositionScheme):
    """RoPE: each pair of features is rotated by an angle that grows with the position.

    Pairs are adjacent features (1, 2), (3, 4), ... as in eq. 15. With `layout=half` feature i is paired with feature
    i + half of the rotated ones. The two layouts are one model under a fixed permutation of the features of a head,
    but not the same checkpoint.

    With `kept` below 1 it is p-RoPE: the pairs of the lowest frequencies have the angle 0, and the others keep theirs
    (Barbero et al. 2024, arXiv 2410.06205). With `fraction` below 1 the rotated features are a smaller head of their
    own, with all frequencies from 1 to nearly 1 / theta.

    Raises:
        ValueError: d_head is odd.
    """

    def __init__(self, cfg: RopeConfig, shape: AttentionShape) -> None:
        super().__init__(cfg, shape)
        if shape.d_head % 2:
            raise ValueError(f"rope rotates pairs of features, so d_head must be even, not {shape.d_head}")
        self.cfg, self.amplitude = cfg, amplitude(cfg)
        self.relative, self.rotates_cross = cfg.scaling != "dynamic", cfg.cross_attention
        self.pairs = cfg.rotated_features(shape.n_features or shape.d_head) // 2
        self.register_buffer("fixed", frequencies(cfg, self.pairs, torch.arange(1)), persistent=False)
        self.fixed: Tensor

    def turns(self, pos: Int[Tensor, "*batch len"]) -> Float[Tensor, "*batch 1 len pairs 2"]:
        """Cosine and sine of the angle m * theta_i of each pair i at each position m: eq. 15. Always float32."""
        of_pairs = self.fixed if self.cfg.scaling != "dynamic" else frequencies(self.cfg, self.pairs, pos)
        angles = (pos.unsqueeze(-1) * of_pairs).unsqueeze(-3)
        turns = torch.stack((angles.cos(), angles.sin()), dim=-1)
        return turns if self.amplitude == 1 else turns * self.amplitude

    def rotate(
        self, x: Float[Tensor, "batch heads len d_head"], turns: Float[Tensor, "*batch 1 len pairs 2"]
    ) -> Float[Tensor, "batch heads len d_head"]:
        """Rotate each feature pair (x_{2i-1}, x_{2i}) by the angle m * theta_i: RoFormer eq. 34.

        Returns:
            The rotated x in the dtype of x. But for YaRN's factor norms are kept; but for `dynamic`, q·k depends on
            positions only through m - n (eq. 16).
        """
        rotated = _Rotation.apply(x, turns, self.cfg.layout == "half")
        assert isinstance(rotated, Tensor)
        return rotated


class _Rotation(torch.autograd.Function):
    """The gradient of a rotation is the gradient of its result, rotated back."""

    @staticmethod
    def forward(ctx, x: Tensor, turns: Tensor, halves: bool) -> Tensor:
        ctx.save_for_backward(turns)
        ctx.halves = halves
        return rotated(x, turns, halves)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        (turns,) = ctx.saved_tensors
        return rotated(grad_outputs[0], turns, ctx.halves, back=True), None, None


def rotated(x: Tensor, turns: Tensor, halves: bool, back: bool = False) -> Tensor:
    """The first features of x rotated, the others as they are.

    On a CPU a pair is a complex number and its rotation a product, a third of the time of eq. 34's products. On a GPU
    eq. 34 moves fewer bytes: it needs no float32 copy of x.
    """
    n = 2 * turns.shape[-2]
    out = torch.empty_like(x)
    if n < x.shape[-1]:
        out[..., n:] = x[..., n:]
    pairs, out_pairs = (
        y[..., :n].unflatten(-1, (2, -1)).transpose(-2, -1) if halves else y[..., :n].unflatten(-1, (-1, 2))
        for y in (x, out)
    )
    if on_cpu(x):
        numbers = torch.view_as_complex(pairs.float().contiguous())
        by = torch.view_as_complex(turns)
        out_pairs.copy_(torch.view_as_real(numbers * (by.conj() if back else by)))
        return out
    (a, b), (cos, sin), sign = pairs.unbind(-1), turns.unbind(-1), -1 if back else 1
    if torch.compiler.is_compiling():  # it refuses the other form, and makes one kernel of this one
        out_pairs.copy_(torch.stack((a * cos - sign * b * sin, b * cos + sign * a * sin), dim=-1))
    else:
        torch.mul(pairs, cos.unsqueeze(-1), out=out_pairs)
        out_pairs[..., 0].addcmul_(b, sin, value=-sign)
        out_pairs[..., 1].addcmul_(a, sin, value=sign)
    return out
