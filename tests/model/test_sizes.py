"""Attention never makes a tensor with features for each query and key, or a state for each token."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rope_mt.config.position import POSITION_CONFIGS, FireConfig, RopeConfig
from rope_mt.model.attention import SelfAttention, Visible
from rope_mt.model.linear_attention import LinearAttention
from rope_mt.position import AttentionShape, build_position
from rope_mt.position.bias import FirePosition

D_MODEL, HEADS, D_HEAD = 64, 2, 32


class Largest(TorchDispatchMode):
    """Keeps the size of the largest tensor; a view that repeats numbers counts them once."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                kept = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.numbers = max(self.numbers, min(kept, tensor.numel()))
        return made


def largest(attention: torch.nn.Module, length: int, cfg, causal: bool) -> int:
    """The size of the largest tensor that attention makes."""
    scheme = build_position(cfg, AttentionShape(D_MODEL, HEADS, causal))
    x, pos = torch.randn(1, length, D_MODEL, requires_grad=True), torch.arange(length)
    with Largest() as seen:
        out, _ = attention(x, scheme, scheme.place(pos, pos), Visible(causal))
        out.sum().backward()
    return seen.numbers


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scheme", POSITION_CONFIGS.values(), ids=lambda scheme: scheme.name)
def test_no_scheme_makes_features_for_each_query_and_key(scheme, causal):
    length = 100
    scores_by_distance = HEADS * length * (2 * length - 1)
    largest_table = 1025 * D_MODEL
    if scheme is FireConfig:  # by its equation: once for all sentences and layers, and no more than this
        largest_table = length * length * FirePosition.WIDTH
    most = largest(SelfAttention(D_MODEL, HEADS), length, scheme(), causal)
    assert most <= max(scores_by_distance, largest_table)
    assert most < length * length * D_HEAD or scheme is FireConfig


@pytest.mark.parametrize("causal", [False, True])
def test_linear_attention_makes_neither_scores_nor_a_state_for_each_token(causal):
    length = 1000
    most = largest(LinearAttention(D_MODEL, HEADS, "elu", 16), length, RopeConfig(), causal)
    assert most == 3 * length * D_MODEL  # queries, keys and values
    assert most < length * D_HEAD * D_HEAD < length * length * HEADS
