"""Schemes against what others have written: transformers, rotary-embedding-torch, and published figures."""

import pytest
import torch
from rotary_embedding_torch import RotaryEmbedding
from transformers.models.roformer.modeling_roformer import RoFormerSelfAttention, RoFormerSinusoidalPositionalEmbedding
from transformers.models.t5.configuration_t5 import T5Config as TheirT5Config
from transformers.models.t5.modeling_t5 import T5Attention

from rope_mt.config.position import AlibiConfig, RopeConfig, T5Config
from rope_mt.config.training import ModelConfig
from rope_mt.model.transformer import Transformer
from rope_mt.position import AttentionShape, build_position
from rope_mt.position.bias import slopes


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rope_equals_that_of_transformers_roformer():
    q, k = random(2, 2, 3, 50, 64)
    rope = build_position(RopeConfig(), AttentionShape(192, 3, causal=False))
    sinusoids = RoFormerSinusoidalPositionalEmbedding(50, 64)
    sinusoids.weight.data = sinusoids.create_weight()
    table = sinusoids(torch.Size((2, 50)))[None, None]
    theirs = RoFormerSelfAttention.apply_rotary_position_embeddings(table, q, k)
    ours = (rope.rotate(q, rope.turns(torch.arange(50))), rope.rotate(k, rope.turns(torch.arange(50))))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("theta", "fraction"), [(10_000.0, 1.0), (500.0, 1.0), (10_000.0, 0.5)])
def test_rope_equals_that_of_rotary_embedding_torch(theta, fraction):
    x = random(2, 3, 50, 64)
    rope = build_position(RopeConfig(theta=theta, fraction=fraction), AttentionShape(192, 3, causal=False))
    theirs = RotaryEmbedding(dim=int(64 * fraction), theta=theta, cache_if_possible=False)
    ours = rope.rotate(x, rope.turns(torch.arange(50)))
    torch.testing.assert_close(ours, theirs.rotate_queries_or_keys(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_t5_equals_the_bias_of_transformers(causal):
    """Far beyond the 128 tokens from which on all distances share a bucket, too."""
    cfg = TheirT5Config(d_model=24, d_kv=8, num_heads=3, is_decoder=causal)
    theirs = T5Attention(cfg, has_relative_attention_bias=True)
    ours = build_position(T5Config(), AttentionShape(24, 3, causal))
    ours.bias.biases.data = random(3, 32)
    theirs.relative_attention_bias.weight.data = ours.bias.biases.data.T.clone()
    pos = torch.arange(400)
    torch.testing.assert_close(ours.position_bias(pos, pos), theirs.compute_bias(400, 400)[0])


def test_alibi_has_the_published_slopes():
    """Press et al. 2022, section 3: for 8 heads 1/2, 1/4, ..., 1/256; for 16 heads 2^-0.5, 2^-1, ..., 2^-8.

    For 12 heads, as in the code that they published: those of 8, then the first four odd ones of 16.
    """
    assert slopes(8) == [2.0**-i for i in range(1, 9)]
    assert slopes(16) == pytest.approx([2.0 ** (-i / 2) for i in range(1, 17)])
    assert slopes(12) == pytest.approx([*(2.0**-i for i in range(1, 9)), *(2.0 ** (-i / 2) for i in (1, 3, 5, 7))])


@pytest.mark.parametrize("causal", [False, True])
def test_alibi_is_a_slope_times_the_distance(causal):
    shape, pos = AttentionShape(16, 8, causal), torch.arange(4)
    bias = build_position(AlibiConfig(), shape).position_bias(pos, pos)
    far = torch.tensor([[0.0, 1, 2, 3], [1, 0, 1, 2], [2, 1, 0, 1], [3, 2, 1, 0]])
    torch.testing.assert_close(bias, -torch.tensor([2.0**-i for i in range(1, 9)])[:, None, None] * far)
    split = build_position(AlibiConfig(sides="split"), shape).position_bias(pos, pos)
    if causal:  # a decoder looks back alone
        assert split.equal(bias)
        return
    assert split[::2].tril().equal(bias[::2].tril())
    assert split[1::2].triu().equal(bias[1::2].triu())
    weights = split.softmax(-1)
    assert not weights[::2].triu(1).any()
    assert not weights[1::2].tril(-1).any()


def test_the_encoder_of_alibi_reads_backwards_as_forwards_unless_its_heads_look_to_one_side():
    ids = torch.randint(4, 31, (1, 9), generator=torch.Generator().manual_seed(0))
    model = ModelConfig("test", d_model=16, d_ff=40, n_heads=4, n_layers=2, dropout=0.0)
    for sides, alike in (("both", True), ("split", False)):
        torch.manual_seed(0)
        encode = Transformer(model, AlibiConfig(sides=sides), vocab_size=31, pad=0).eval().memory
        assert torch.allclose(encode(ids.flip(1)), encode(ids).flip(1), atol=1e-5) is alike
