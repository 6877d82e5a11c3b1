"""attend() against a softmax written out, both as plain products and with the fused kernel."""

import pytest
import torch

import rope_mt.model.attention as attention_module
from rope_mt.model.attention import Visible, attend


def softmax_written_out(q, k, v, visible, bias, n_terms):
    """The textbook's form, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    tgt, src = q.shape[2], k.shape[2]
    seen = torch.ones(tgt, src, dtype=torch.bool)
    if visible.cached is not None:
        seen = visible.cached[:, None]
    elif visible.causal:
        seen = torch.tensor([[s <= t for s in range(src)] for t in range(tgt)])
    if visible.key_padding is not None:
        seen = seen & visible.key_padding[:, None, None, :]
    scores = q @ k.mT / (n_terms * q.shape[-1]) ** 0.5 + (0 if bias is None else bias)
    weights = scores.exp() * seen
    return weights @ v / weights.sum(-1, keepdim=True)


@pytest.fixture(params=["explicit", "fused"])
def form(request, monkeypatch):
    monkeypatch.setattr(attention_module, "EXPLICIT_UP_TO", 10**9 if request.param == "explicit" else 0)


def qkv(tgt: int, src: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, tgt, 8, generator=generator)
    k, v = torch.randn(2, 2, 3, src, 8, generator=generator)
    return q, k, v


PADDING = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]], dtype=torch.bool)
CACHED = torch.tensor([[[(t + s) % 3 != n or s == 0 for s in range(7)] for t in range(5)] for n in range(2)])
CASES = {
    "all": Visible(),
    "causal": Visible(causal=True),
    "padding": Visible(key_padding=PADDING),
    "both": Visible(True, PADDING),
    "cached": Visible(True, cached=CACHED),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.usefixtures("form")
def test_attend_equals_softmax_written_out(name, with_bias):
    q, k, v = qkv(tgt=7 if name in ("causal", "both") else 5, src=7)
    bias = torch.randn(3, q.shape[2], 7, generator=torch.Generator().manual_seed(1)) if with_bias else None
    out = attend(q, k, v, CASES[name], bias, n_terms=2)
    torch.testing.assert_close(out.double(), softmax_written_out(q, k, v, CASES[name], bias, 2), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("form")
def test_a_target_without_a_cache_needs_no_mask(monkeypatch):
    q, k, v = qkv(tgt=7, src=7)
    expected = softmax_written_out(q, k, v, Visible(causal=True), None, 1)
    if not attention_module.EXPLICIT_UP_TO:
        monkeypatch.setattr(Visible, "mask", None)
    torch.testing.assert_close(attend(q, k, v, Visible(causal=True)).double(), expected, atol=1e-5, rtol=0)


def test_all_layers_share_a_mask():
    q, k, _ = qkv(tgt=5, src=7)
    visible = Visible(key_padding=PADDING)
    assert visible.mask(q, k) is visible.mask(q, k)


def test_the_value_term_gets_the_weights_and_is_added():
    q, k, v = qkv(tgt=5, src=7)
    weights = []

    def term(of_attention: torch.Tensor) -> torch.Tensor:
        weights.append(of_attention)
        return torch.ones(2, 3, 5, 8)

    out = attend(q, k, v, Visible(key_padding=PADDING), value_term=term)
    torch.testing.assert_close(out, attend(q, k, v, Visible(key_padding=PADDING)) + 1)
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(2, 3, 5))
    assert (weights[0][0, :, :, 4:] == 0).all()
