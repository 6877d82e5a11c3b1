"""Each scheme against its equation written out, with the (tgt, src, d_head) tensors that the project never makes."""

import math
from collections.abc import Callable

import pytest
import torch

from rope_mt.config.position import POSITION_CONFIGS, PositionConfig
from rope_mt.model.attention import SelfAttention, Visible
from rope_mt.position import AttentionShape, PositionScheme, build_position

LEN, D_MODEL, HEADS, D_HEAD = 9, 12, 2, 6
both_stacks = pytest.mark.parametrize("causal", [False, True])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def heads(x: torch.Tensor) -> torch.Tensor:
    """(..., d_model) -> (heads, ..., d_head)"""
    return x.unflatten(-1, (HEADS, D_HEAD)).movedim(-2, 0)


Scores = Callable[[PositionScheme, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Values = Callable[[PositionScheme, torch.Tensor, torch.Tensor], torch.Tensor]


def plain_values(scheme: PositionScheme, v: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    return v[:, :, None]


def check(cfg: PositionConfig, causal: bool, scores: Scores, values: Values = plain_values) -> None:
    """Attention with this scheme is softmax of `scores(scheme, q, k, m - n)`, times `values(scheme, v, m - n)`."""
    torch.manual_seed(0)
    scheme = build_position(cfg, AttentionShape(D_MODEL, HEADS, causal))
    for i, weights in enumerate(scheme.parameters()):
        weights.data = random(*weights.shape, seed=i)  # some begin at 0
    attention = SelfAttention(D_MODEL, HEADS)
    x, pos = random(2, LEN, D_MODEL), torch.arange(LEN)
    out, _ = attention(x, scheme, scheme.place(pos, pos), Visible(causal))

    q, k, v = attention.qkv(x).unflatten(-1, (3, HEADS, D_HEAD)).permute(2, 0, 3, 1, 4)
    back = pos[:, None] - pos[None, :]
    expected = scores(scheme, q, k, back)
    if causal:
        expected = expected.masked_fill(back < 0, -torch.inf)
    heads_out = (expected.softmax(-1)[..., None] * values(scheme, v, back)).sum(3)
    torch.testing.assert_close(out, attention.out(heads_out.transpose(1, 2).flatten(-2)), atol=2e-5, rtol=0)


def test_sinusoidal_is_the_formula_of_eq_4():
    """Added to whatever enters a stack; the four terms of eq. 6 follow."""
    scheme = build_position(POSITION_CONFIGS["sinusoidal-add"](), AttentionShape(6, 1, causal=False))
    x, pos = random(1, 3, 6), torch.tensor([0, 5, 900])
    added = scheme.embed(torch.zeros(1, 3, 6), pos)[0]
    assert torch.equal(scheme.embed(x, pos)[0], x[0] + added)
    for row, m in enumerate((0, 5, 900)):
        for t in range(3):
            angle = m / 10_000 ** (2 * t / 6)
            assert added[row, 2 * t].item() == pytest.approx(math.sin(angle), abs=1e-4)
            assert added[row, 2 * t + 1].item() == pytest.approx(math.cos(angle), abs=1e-4)


@both_stacks
@pytest.mark.parametrize("with_values", [True, False])
def test_relative_is_eq_5(causal, with_values):
    """q·(k + a^K) / sqrt(d), and weights·(v + a^V)."""

    def rows(back):
        return (-back).clamp(-3, 0 if causal else 3) + 3

    def scores(scheme, q, k, back):
        return (q[:, :, :, None] * (k[:, :, None] + scheme.keys[rows(back)])).sum(-1) / math.sqrt(D_HEAD)

    def values(scheme, v, back):
        return v[:, :, None] + (scheme.values[rows(back)] if with_values else 0)

    check(POSITION_CONFIGS["relative"](clip=3, values=with_values), causal, scores, values)


def sinusoid_of(back: torch.Tensor) -> torch.Tensor:
    """(tgt, src) -> (tgt, src, d_model), from Python's own sines."""
    out = torch.zeros(*back.shape, D_MODEL)
    for m, row in enumerate(back.tolist()):
        for n, r in enumerate(row):
            for t in range(D_MODEL // 2):
                angle = r / 10_000 ** (2 * t / D_MODEL)
                out[m, n, 2 * t], out[m, n, 2 * t + 1] = math.sin(angle), math.cos(angle)
    return out


@both_stacks
def test_transformer_xl_is_eq_7(causal):
    def scores(scheme, q, k, back):
        r = heads(scheme.project(sinusoid_of(back)))  # (heads, tgt, src, d_head)
        u, v = scheme.u, scheme.v
        content = ((q + u) @ k.transpose(-2, -1)).double()
        position = ((q + v)[:, :, :, None] * r).sum(-1)
        return ((content + position) / math.sqrt(D_HEAD)).float()

    check(POSITION_CONFIGS["transformer-xl"](), causal, scores)


@both_stacks
def test_deberta_is_eq_10(causal):
    def scores(scheme, q, k, back):
        vectors = scheme.vectors
        forth_and_back = [vectors[distance.clamp(-4, 3) + 4] for distance in (back, -back)]
        keys, queries = heads(scheme.keys(forth_and_back[0])), heads(scheme.queries(forth_and_back[1]))
        content = q @ k.transpose(-2, -1)
        content_to_position = (q[:, :, :, None] * keys).sum(-1)
        position_to_content = (k[:, :, None, :] * queries).sum(-1)
        return (content + content_to_position + position_to_content) / math.sqrt(3 * D_HEAD)

    check(POSITION_CONFIGS["deberta"](clip=4), causal, scores)


@both_stacks
def test_kerple_is_the_logarithm_of_the_distance(causal):
    def scores(scheme, q, k, back):
        of_heads = zip(scheme.r_1.abs().flatten().tolist(), scheme.r_2.abs().flatten().tolist(), strict=True)
        kernel = [[[-a * math.log(1 + b * abs(r)) for r in row] for row in back.tolist()] for a, b in of_heads]
        return q @ k.transpose(-2, -1) / math.sqrt(D_HEAD) + torch.tensor(kernel)

    check(POSITION_CONFIGS["kerple"](), causal, scores)


@both_stacks
def test_fire_is_a_network_of_the_distance_over_the_position_of_the_query(causal):
    """f(psi(|m - n|) / psi(max(L, m))), psi(x) = log(cx + 1), before and beyond L."""

    def scores(scheme, q, k, back):
        c, longest = scheme.c.abs().item(), 5 * scheme.multiplier.abs().item()
        assert 0 < longest < LEN - 1
        first, last = scheme.f[0], scheme.f[2]
        weights = [*zip(first.weight.flatten().tolist(), first.bias.tolist(), strict=True)]
        bias = torch.zeros(HEADS, LEN, LEN)
        for m in range(LEN):
            for n in range(LEN):
                x = math.log(c * abs(m - n) + 1) / math.log(c * max(longest, m) + 1)
                hidden = [max(0.0, w * x + b) for w, b in weights]
                bias[:, m, n] = last.weight @ torch.tensor(hidden) + last.bias
        return q @ k.transpose(-2, -1) / math.sqrt(D_HEAD) + bias

    check(POSITION_CONFIGS["fire"](threshold=5), causal, scores)


@both_stacks
def test_pope_is_a_sum_of_magnitudes_times_the_cosine_of_the_distance(causal):
    """sum_c softplus(q_c) softplus(k_c) cos((n - m) theta_c + delta_c) / sqrt(d_head), delta from -2 pi to 0."""

    def scores(scheme, q, k, back):
        out = torch.zeros(*q.shape[:-1], LEN)
        for c in range(D_HEAD):
            delta = scheme.delta[:, 0, c].clamp(-2 * math.pi, 0)[:, None, None]
            cosines = (-back * 100 ** (-c / D_HEAD) + delta).cos()
            out += (1 + q[..., c].exp()).log()[..., None] * (1 + k[..., c].exp()).log()[..., None, :] * cosines
        return out / math.sqrt(D_HEAD)

    check(POSITION_CONFIGS["pope"](theta=100), causal, scores)


@both_stacks
def test_tupe_is_eq_9(causal):
    def scores(scheme, q, k, back):
        p = scheme.vectors[:LEN]
        position = heads(scheme.queries(p)) @ heads(scheme.keys(p)).transpose(-2, -1)
        bias = torch.zeros(HEADS, LEN, LEN)
        for m in range(LEN):
            for n in range(LEN):
                # up to 8 tokens away each distance has a bucket of its own: the past first, then the future
                bucket = m - n if m >= n else 16 + n - m
                bias[:, m, n] = scheme.bias.biases[:, bucket] if m >= n or not causal else 0
        if not causal:  # 16 buckets a side, of which 8 are exact: distance 8 is the first of the others
            assert LEN - 1 <= 8
        return (q @ k.transpose(-2, -1) + position) / math.sqrt(2 * D_HEAD) + bias

    check(POSITION_CONFIGS["tupe"](max_len=20), causal, scores)
