"""RoPE scaled after training: against transformers' own frequencies, and factor 1 changes no bit."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_mt.config.position import RopeConfig
from rope_mt.position import AttentionShape, build_position
from rope_mt.position.scaling import amplitude, frequencies

D_HEAD = 64


def theirs(kind: str, theta: float, factor: float, trained: int, **rope: float) -> LlamaConfig:
    rope_parameters = {"rope_type": kind, "rope_theta": theta, "factor": factor, **rope}
    if kind == "yarn":
        rope_parameters["original_max_position_embeddings"] = trained
    sizes = {"hidden_size": 2 * D_HEAD, "num_attention_heads": 2, "max_position_embeddings": trained}
    return LlamaConfig(rope_parameters=rope_parameters, **sizes)


@pytest.mark.parametrize("theta", [10_000.0, 500.0])
@pytest.mark.parametrize("factor", [1.0, 2.0, 7.5])
@pytest.mark.parametrize("trained", [40, 256, 4096])
@pytest.mark.parametrize("kind", ["linear", "yarn", "dynamic"])
def test_frequencies_and_amplitude_are_those_of_transformers(kind, theta, factor, trained):
    cfg = RopeConfig(theta=theta, scaling=kind, factor=factor, trained=trained)
    lengths = torch.tensor([1, trained, trained + 1, 4 * trained])
    ours = frequencies(cfg, D_HEAD // 2, lengths - 1).expand(4, -1)
    for length, row in zip(lengths.tolist(), ours, strict=True):
        config = theirs(kind, theta, factor, trained)
        expected, logit = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=length)
        torch.testing.assert_close(row, expected, rtol=2e-6, atol=0)
        assert amplitude(cfg) == pytest.approx(logit, rel=1e-12)


def test_kept_frequencies_are_those_of_transformers():
    """Also with a part of the head rotated: then the kept are a part of that part."""
    config = theirs("proportional", 500.0, 2.0, 40, partial_rotary_factor=0.25)
    expected, _ = ROPE_INIT_FUNCTIONS["proportional"](config, torch.device("cpu"))
    cfg = RopeConfig(theta=500.0, scaling="linear", factor=2.0, kept=0.25)
    torch.testing.assert_close(frequencies(cfg, D_HEAD // 2, torch.arange(3)), expected, rtol=1e-6, atol=0)


def test_ntk_divides_the_lowest_frequency_by_the_factor_and_leaves_the_highest():
    plain = frequencies(RopeConfig(), D_HEAD // 2, torch.arange(3))
    scaled = frequencies(RopeConfig(scaling="ntk", factor=4), D_HEAD // 2, torch.arange(3))
    assert (plain[0], plain[-1].item()) == (scaled[0], pytest.approx(4 * scaled[-1].item(), rel=1e-5))
    assert ((plain / scaled).diff() > 0).all()


@pytest.mark.parametrize("scaling", ["linear", "ntk", "yarn", "dynamic"])
def test_factor_1_changes_no_bit(scaling):
    """Of `dynamic` up to the length of training: beyond it, its factor grows with the sentence from this one on."""
    plain = RopeConfig()
    shape, pos = AttentionShape(2 * D_HEAD, 2, causal=False), torch.arange(200)
    scaled = replace(plain, scaling=scaling, trained=200)
    before, after = (build_position(cfg, shape).turns(pos) for cfg in (plain, scaled))
    assert torch.equal(before, after)
    longer = build_position(replace(scaled, factor=2), shape)
    assert torch.equal(before, longer.turns(pos)) == (scaling == "dynamic")
    assert not torch.equal(longer.turns(pos + 200), build_position(plain, shape).turns(pos + 200))
