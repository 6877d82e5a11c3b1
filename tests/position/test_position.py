"""The laws that every position scheme obeys: they find new schemes through SCHEMES."""

import math

import pytest
import torch

from rope_mt.config.position import POSITION_CONFIGS, RelativeConfig, RopeConfig, SinusoidalConfig
from rope_mt.config.training import ModelConfig
from rope_mt.model.attention import SelfAttention, Visible
from rope_mt.model.transformer import Transformer
from rope_mt.position import SCHEMES, AttentionShape, build_position
from rope_mt.position.relative import RelativePosition
from rope_mt.position.rotary import RotaryPosition

CONFIGS = {scheme.name: scheme for scheme in POSITION_CONFIGS}
every_scheme = pytest.mark.parametrize("name", sorted(SCHEMES))
PAD = 0


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def transformer(name: str, norm: str = "post") -> Transformer:
    torch.manual_seed(0)
    cfg = ModelConfig("test", d_model=24, d_ff=40, n_heads=3, n_layers=2, dropout=0.0, norm=norm)
    return Transformer(cfg, CONFIGS[name](), vocab_size=31, pad=PAD).eval()


def sentences(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(4, 31, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_every_scheme_has_a_configuration_of_its_name():
    assert set(SCHEMES) == set(CONFIGS)


@every_scheme
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shift", [1, 300, 4000])
def test_scores_ignore_a_shift_of_all_positions_exactly_where_the_scheme_says_so(name, causal, shift):
    torch.manual_seed(0)
    attention = SelfAttention(d_model=24, n_heads=3)
    scheme = build_position(CONFIGS[name](), AttentionShape(24, 3, causal))
    x = random(2, 7, 24)

    def output(by: int) -> torch.Tensor:
        pos = torch.arange(7) + by
        bias = scheme.position_bias(pos, pos)
        return attention(scheme.embed(x, pos), scheme, pos, pos, Visible(causal), bias)[0]

    difference = (output(shift) - output(0)).abs().max().item()
    if scheme.relative:
        assert difference < 2e-4
    else:
        assert difference > 1e-2


@every_scheme
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_cached_decoding_equals_the_full_pass(name, norm):
    model = transformer(name, norm)
    src, tgt = sentences(3, 7), sentences(3, 5, seed=1)
    src[1, 4:] = PAD
    full = model(src, tgt)
    state = model.encode(src)
    step_by_step = [model.logits(model.decode(tgt[:, t : t + 1], state)) for t in range(5)]
    torch.testing.assert_close(torch.cat(step_by_step, dim=1), full, atol=2e-5, rtol=0)


@every_scheme
def test_a_cache_continues_with_several_tokens_at_once(name):
    model = transformer(name)
    src, tgt = sentences(2, 7), sentences(2, 5, seed=1)
    state = model.encode(src)
    pieces = [model.logits(model.decode(piece, state)) for piece in (tgt[:, :2], tgt[:, 2:])]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(src, tgt), atol=2e-5, rtol=0)


@every_scheme
def test_selected_rows_decode_as_if_they_had_been_alone(name):
    model = transformer(name)
    src, tgt = sentences(3, 7), sentences(3, 5, seed=1)
    src[1, 4:] = PAD
    rows = torch.tensor([2, 0, 2, 1])
    state = model.encode(src)
    model.decode(tgt[:, :3], state)
    state = state.select(rows)
    selected = model.logits(model.decode(tgt[rows, 3:], state))
    torch.testing.assert_close(selected, model(src, tgt)[rows, 3:], atol=2e-5, rtol=0)


@every_scheme
def test_padding_changes_nothing(name):
    model = transformer(name)
    src, tgt = sentences(2, 5), sentences(2, 3, seed=1)
    padded_src = torch.nn.functional.pad(src, (0, 4), value=PAD)
    padded_tgt = torch.nn.functional.pad(tgt, (0, 2), value=PAD)
    torch.testing.assert_close(model(padded_src, padded_tgt)[:, :3], model(src, tgt), atol=2e-5, rtol=0)


@every_scheme
def test_the_decoder_sees_no_future(name):
    model = transformer(name)
    src, tgt = sentences(2, 5), sentences(2, 6, seed=1)
    changed = tgt.clone()
    changed[:, 4:] = sentences(2, 2, seed=2)
    assert torch.equal(model(src, changed)[:, :4], model(src, tgt)[:, :4])


@every_scheme
def test_gradients_reach_every_parameter(name):
    model = transformer(name).train()
    # longer than the clip, so that every embedding of a clipped distance is used
    model(sentences(2, 40), sentences(2, 40, seed=1)).square().mean().backward()
    idle = [p for p, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum() > 0]
    # a bias on keys adds the same to all scores of a query, which softmax ignores: its gradient is zero up to rounding
    assert not idle


@every_scheme
def test_order_matters_to_the_encoder_unless_the_scheme_says_nothing(name):
    model = transformer(name)
    src, tgt = sentences(1, 6), sentences(1, 3, seed=1)
    reversed_src = src.flip(1)
    same = torch.allclose(model(src, tgt), model(reversed_src, tgt), atol=1e-5)
    assert same == (name == "none")


# ---- rope ---------------------------------------------------------------------------------------------------------


def rope(d_head: int, theta: float = 10_000.0) -> RotaryPosition:
    return RotaryPosition(RopeConfig(theta=theta), AttentionShape(d_model=d_head, n_heads=1, causal=False))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 5e-3), (torch.bfloat16, 0.25)])
@pytest.mark.parametrize("shift", [1, 300, 4000])
def test_rope_scores_depend_only_on_the_distance(shift, dtype, atol):
    q, k = random(2, 1, 1, 7, 64).to(dtype)
    m = torch.arange(7)

    def scores(by: int) -> torch.Tensor:
        return (rope(64).rotate(q, m + by).float() * rope(64).rotate(k, m + 3 + by).float()).sum(-1)

    torch.testing.assert_close(scores(shift), scores(0), atol=atol, rtol=0)


def dense_rotation(m: int, d_head: int) -> torch.Tensor:
    """R_m of eq. 15 written out, block by block, in float64."""
    matrix = torch.zeros(d_head, d_head, dtype=torch.float64)
    for i in range(d_head // 2):
        angle = m * 10_000.0 ** (-2 * i / d_head)
        block = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor(block, dtype=torch.float64)
    return matrix


@pytest.mark.parametrize("m", [0, 1, 17, 500])
def test_rope_equals_the_dense_matrix_of_eq_15(m):
    x = random(1, 1, 1, 10)
    expected = dense_rotation(m, 10) @ x[0, 0, 0].double()
    torch.testing.assert_close(rope(10).rotate(x, torch.tensor([m]))[0, 0, 0].double(), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("m", "n"), [(0, 0), (3, 11), (40, 2)])
def test_rope_inner_product_has_the_three_forms_of_the_paper(m, n):
    """<R_m q, R_n k> = q^T R_{n-m} k (eq. 16) = Re sum q k* e^{i (m-n) theta} (eq. 12)."""
    q, k = random(2, 10).double()
    scheme = rope(10)

    def at(x: torch.Tensor, pos: int) -> torch.Tensor:
        return scheme.rotate(x.float()[None, None, None], torch.tensor([pos]))[0, 0, 0].double()

    turned = at(q, m) @ at(k, n)
    relative = q @ dense_rotation(n - m, 10) @ k
    q_complex, k_complex = (torch.view_as_complex(x.view(-1, 2).contiguous()) for x in (q, k))
    theta = 10_000.0 ** (-2 * torch.arange(5, dtype=torch.float64) / 10)
    turns = torch.polar(torch.ones_like(theta), (m - n) * theta)
    complex_form = (q_complex * k_complex.conj() * turns).sum().real
    torch.testing.assert_close(turned, relative, atol=1e-4, rtol=0)
    torch.testing.assert_close(turned, complex_form, atol=1e-4, rtol=0)


def test_rope_keeps_norms_and_leaves_position_0_alone():
    x = random(2, 3, 5, 8)
    turned = rope(8).rotate(x, torch.arange(5))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


def test_rope_takes_a_position_for_each_sentence():
    x = random(2, 3, 5, 8)
    pos = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 0, 1, 2]])
    turned = rope(8).rotate(x, pos)
    for row in range(2):
        assert torch.equal(turned[row : row + 1], rope(8).rotate(x[row : row + 1], pos[row]))


def test_rope_angles_are_float32_even_under_bf16():
    """bfloat16 cannot tell position 4001 from 4000; float32 angles can."""
    x = torch.ones(1, 1, 1, 2, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        a, b = (rope(2).rotate(x, torch.tensor([m])) for m in (4000, 4001))
    assert (a - b).abs().max() > 0.1


def test_a_larger_theta_turns_more_slowly():
    x = random(1, 1, 1, 8)
    slow, fast = (rope(8, theta).rotate(x, torch.tensor([50])) for theta in (1e6, 1e2))
    last = slice(6, 8)
    assert (slow - x)[..., last].norm() < (fast - x)[..., last].norm()


def test_rope_refuses_an_odd_head():
    with pytest.raises(ValueError, match="even"):
        rope(7)


# ---- the others -----------------------------------------------------------------------------------------------------


def test_sinusoidal_is_the_formula_of_eq_4():
    scheme = build_position(SinusoidalConfig(), AttentionShape(6, 1, causal=False))
    added = scheme.embed(torch.zeros(1, 3, 6), torch.tensor([0, 5, 900]))[0]
    for row, m in enumerate((0, 5, 900)):
        for t in range(3):
            angle = m / 10_000 ** (2 * t / 6)
            assert added[row, 2 * t].item() == pytest.approx(math.sin(angle), abs=1e-4)
            assert added[row, 2 * t + 1].item() == pytest.approx(math.cos(angle), abs=1e-4)


def test_first_layer_scores_of_sinusoidal_are_the_four_terms_of_eq_6():
    """(x_m + p_m) W_q W_k^T (x_n + p_n)^T: content and position of the one with content and position of the other."""
    scheme = build_position(SinusoidalConfig(), AttentionShape(12, 1, causal=False))
    w_q, w_k = random(2, 12, 12, seed=1)
    x, pos = random(1, 5, 12), torch.arange(5)
    p = scheme.embed(torch.zeros(1, 5, 12), pos)
    entered = scheme.embed(x, pos)
    scores = (entered @ w_q) @ (entered @ w_k).transpose(1, 2)
    terms = [(a @ w_q) @ (b @ w_k).transpose(1, 2) for a in (x, p) for b in (x, p)]
    torch.testing.assert_close(scores, sum(terms), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_relative_equals_eq_5_written_out(causal):
    """Scores q·(k + a^K) / sqrt(d), outputs weights·(v + a^V): with the (tgt, src, d_head) tensor we never make."""
    torch.manual_seed(0)
    shape = AttentionShape(d_model=12, n_heads=2, causal=causal)
    scheme = RelativePosition(RelativeConfig(clip=3), shape)
    attention = SelfAttention(12, 2)
    x, pos = random(2, 9, 12), torch.arange(9)
    out, _ = attention(x, scheme, pos, pos, Visible(causal))

    q, k, v = attention.qkv(x).unflatten(-1, (3, 2, 6)).permute(2, 0, 3, 1, 4)
    distance = (pos[None, :] - pos[:, None]).clamp(-3, 0 if causal else 3) + 3
    keys, values = scheme.keys[distance], scheme.values[distance]  # (tgt, src, d_head)
    scores = (q[:, :, :, None] * (k[:, :, None] + keys)).sum(-1) / math.sqrt(6)
    if causal:
        scores = scores.masked_fill(~torch.ones(9, 9, dtype=torch.bool).tril(), -torch.inf)
    weights = scores.softmax(-1)
    expected = (weights[..., None] * (v[:, :, None] + values)).sum(3)
    torch.testing.assert_close(out, attention.out(expected.transpose(1, 2).flatten(-2)), atol=1e-5, rtol=0)
