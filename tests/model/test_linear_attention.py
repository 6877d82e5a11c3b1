"""Linear attention against eq. 18-19 written out, and Performer's features against softmax attention."""

import pytest
import torch

from rope_mt.config.position import NoPositionConfig, RopeConfig
from rope_mt.model import linear_attention
from rope_mt.model.attention import SelfAttention, Visible
from rope_mt.model.linear_attention import EluFeatures, FavorFeatures, LinearAttention, attend_to_past
from rope_mt.position import AttentionShape, build_position

D_MODEL, HEADS, D_HEAD = 24, 3, 8
BATCH, LEN = 2, 11


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[4, 64], ids=["chunks of 4", "one chunk"])
def _chunks(request, monkeypatch):
    monkeypatch.setattr(linear_attention, "CHUNK", request.param)


def layer(feature_map: str, n_features: int = 16) -> LinearAttention:
    torch.manual_seed(0)
    return LinearAttention(D_MODEL, HEADS, feature_map, n_features)


def eq_19(attention: LinearAttention, x: torch.Tensor, visible: Visible, scheme) -> torch.Tensor:
    """All products at once, in float64: the numerator with rotated features, the denominator without."""
    q, k, v = attention.qkv(x).unflatten(-1, (3, HEADS, D_HEAD)).permute(2, 0, 3, 1, 4)
    q, k = attention.features(q, queries=True), attention.features(k, queries=False)
    rotated_q, rotated_k = (scheme.rotate(t, scheme.turns(torch.arange(LEN))).double() for t in (q, k))
    seen = torch.ones(LEN, LEN).tril() if visible.causal else torch.ones(LEN, LEN)
    if visible.key_padding is not None:
        seen = seen * visible.key_padding[:, None, None, :]
    numerator = (rotated_q @ rotated_k.mT * seen) @ v.double()
    denominator = (q.double() @ k.double().mT * seen).sum(-1, keepdim=True)
    return attention.out((numerator / denominator).float().transpose(1, 2).flatten(-2))


PADDING = torch.arange(LEN) < torch.tensor([[LEN], [7]])


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("feature_map", ["elu", "favor"])
@pytest.mark.parametrize("position", [RopeConfig(), NoPositionConfig()], ids=["rope", "none"])
@pytest.mark.parametrize("visible", [Visible(causal=True), Visible(key_padding=PADDING)], ids=["causal", "padding"])
def test_linear_attention_is_eq_19(feature_map, position, visible):
    attention, x, pos = layer(feature_map), random(BATCH, LEN, D_MODEL), torch.arange(LEN)
    n_features = 16 if feature_map == "favor" else None
    scheme = build_position(position, AttentionShape(D_MODEL, HEADS, visible.causal, n_features))
    out, _ = attention(x, scheme, scheme.place(pos, pos), visible)
    torch.testing.assert_close(out, eq_19(attention, x, visible, scheme), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("_chunks")
def test_the_running_state_equals_the_parallel_form_and_keeps_its_size():
    attention, x, pos, causal = layer("elu"), random(BATCH, LEN, D_MODEL), torch.arange(LEN), Visible(causal=True)
    scheme = build_position(RopeConfig(), AttentionShape(D_MODEL, HEADS, causal=True))
    whole, last = attention(x, scheme, scheme.place(pos, pos), causal)
    state, outs = None, []
    for t in range(LEN):
        out, state = attention(x[:, [t]], scheme, scheme.place(pos[[t]], pos[: t + 1]), causal, past=state)
        assert state.numerator.shape == (BATCH, HEADS, D_HEAD, D_HEAD)
        outs.append(out)
    torch.testing.assert_close(torch.cat(outs, dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close((state.numerator, state.denominator), (last.numerator, last.denominator))


def test_a_query_that_sees_nothing_gives_0():
    attention, x, pos = layer("elu"), random(BATCH, LEN, D_MODEL), torch.arange(LEN)
    torch.nn.init.ones_(attention.out.bias)
    scheme = build_position(RopeConfig(), AttentionShape(D_MODEL, HEADS, causal=False))
    visible = Visible(key_padding=torch.tensor([[False] * LEN, [True] * LEN]))
    out, _ = attention(x, scheme, scheme.place(pos, pos), visible)
    assert (out[0] == 1).all()
    assert not (out[1] == 1).any()


def test_sums_are_float32_under_bf16():
    """bfloat16 cannot count beyond 256: one more key would not change the sum."""
    attention, scheme = layer("elu"), build_position(NoPositionConfig(), AttentionShape(D_MODEL, HEADS, causal=True))
    x = random(1, 1, D_MODEL).expand(1, 1000, D_MODEL)
    with torch.autocast("cpu", torch.bfloat16):
        pos = torch.arange(1000)
        out, state = attention(x, scheme, scheme.place(pos, pos), Visible(causal=True))
        one, _ = attention(x[:, :1], scheme, scheme.place(pos[:1], pos[:1]), Visible(causal=True))
        k = attention.qkv(x[:, :1]).unflatten(-1, (3, HEADS, D_HEAD))[0, 0, 1].float()
    assert state.numerator.dtype == state.denominator.dtype == torch.float32
    features = EluFeatures()(k[None, :, None], queries=False)[0, :, 0]
    torch.testing.assert_close(state.denominator[0], 1000 * features, rtol=1e-4, atol=0)
    torch.testing.assert_close(out[:, -1:], one, atol=2e-2, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_favor_approaches_softmax_attention_as_its_features_grow(causal):
    x, pos = 0.5 * random(BATCH, LEN, D_MODEL), torch.arange(LEN)
    scheme = build_position(NoPositionConfig(), AttentionShape(D_MODEL, HEADS, causal))
    errors = []
    for n_features in (16, 256, 4096, 32_768):
        attention, softmax = layer("favor", n_features), SelfAttention(D_MODEL, HEADS)
        softmax.load_state_dict(attention.state_dict(), strict=False)  # all weights but the directions of favor
        exact, _ = softmax(x, scheme, scheme.place(pos, pos), Visible(causal))
        out, _ = attention(x, scheme, scheme.place(pos, pos), Visible(causal))
        errors.append(((out - exact).square().mean() / exact.square().mean()).sqrt().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02
    assert errors[0] > 5 * errors[-1]


def test_favor_directions_are_orthogonal_seeded_and_as_long_as_normal_vectors():
    torch.manual_seed(5)
    features, other = FavorFeatures(8, 20), FavorFeatures(8, 20)
    torch.manual_seed(5)
    assert torch.equal(FavorFeatures(8, 20).directions, features.directions)
    assert not torch.equal(other.directions, features.directions)
    product = features.directions[:8] @ features.directions[:8].T
    torch.testing.assert_close(product, product.diag().diag(), atol=1e-5, rtol=0)
    assert FavorFeatures(64, 4096).directions.square().sum(dim=1).mean().item() == pytest.approx(64, rel=0.02)


def test_favor_survives_large_queries():
    """Queries whose features would all vanish in float32 still divide to a weighted mean of the values."""
    torch.manual_seed(0)
    features = FavorFeatures(8, 64)
    q, k, v = 30 * random(1, 1, 5, 8), random(1, 1, 5, 8, seed=1), torch.ones(1, 1, 5, 8)
    q, k = features(q, True), features(k, False)
    out, _ = attend_to_past(q, k, v, q, k)
    torch.testing.assert_close(out, torch.ones(1, 1, 5, 8), atol=1e-4, rtol=0)
