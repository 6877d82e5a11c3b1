"""attend() against a softmax written out, in both of its forms."""

import math

import pytest
import torch

import rope_mt.model.attention as attention_module
from rope_mt.model.attention import Visible, attend


def softmax_written_out(q, k, v, visible, bias=None, n_terms=1):
    """Loops over batch, heads and queries, in float64."""
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=torch.float64)
    tgt, src = q.shape[2], k.shape[2]
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for t in range(tgt):
                scores = {}
                for s in range(src):
                    if visible.causal and s > t + visible.past:
                        continue
                    if visible.key_padding is not None and not visible.key_padding[b, s]:
                        continue
                    if visible.segments is not None and visible.segments[0][b, t] != visible.segments[1][b, s]:
                        continue
                    score = float(q[b, h, t].double() @ k[b, h, s].double()) / math.sqrt(n_terms * q.shape[-1])
                    scores[s] = score + (
                        0.0 if bias is None else float(bias.expand(q.shape[0], -1, -1, -1)[b, h, t, s])
                    )
                total = sum(math.exp(score) for score in scores.values())
                for s, score in scores.items():
                    out[b, h, t] += math.exp(score) / total * v[b, h, s].double()
    return out


@pytest.fixture(params=["explicit", "fused"])
def form(request, monkeypatch):
    monkeypatch.setattr(attention_module, "EXPLICIT_UP_TO", 10**9 if request.param == "explicit" else 0)


def qkv(tgt: int, src: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, tgt, 8, generator=generator)
    k, v = torch.randn(2, 2, 3, src, 8, generator=generator)
    return q, k, v


padding = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]], dtype=torch.bool)
segments = (
    torch.tensor([[1, 1, 2, 2, 2], [1, 1, 1, 1, 3]]),
    torch.tensor([[1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 3, 3, 3]]),
)
CASES = {
    "all": Visible(),
    "causal": Visible(causal=True, past=2),
    "padding": Visible(key_padding=padding),
    "segments": Visible(segments=segments),
    "everything": Visible(True, padding, segments, past=2),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.usefixtures("form")
def test_attend_equals_softmax_written_out(name, with_bias):
    q, k, v = qkv(tgt=5, src=7)
    bias = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(1)) if with_bias else None
    out = attend(q, k, v, CASES[name], bias, n_terms=2)
    torch.testing.assert_close(out.double(), softmax_written_out(q, k, v, CASES[name], bias, 2), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_query_that_sees_nothing_gives_0(dtype):
    q, k, v = (x.to(dtype) for x in qkv(tgt=2, src=7))
    nothing = Visible(key_padding=torch.tensor([[False] * 7, [True] * 7]))
    out = attend(q, k, v, nothing)
    assert (out[0] == 0).all()
    assert (out[1] != 0).all()
    assert out.dtype == dtype


@pytest.mark.usefixtures("form")
def test_one_query_with_a_cache_sees_the_keys_before_it_and_no_room_that_is_not_filled():
    q, k, v = qkv(tgt=1, src=7)
    filled = attend(q, k[:, :, :5], v[:, :, :5], Visible())
    torch.testing.assert_close(attend(q, k, v, Visible(causal=True, past=4)), filled)


def test_the_value_term_sees_the_weights_and_is_added():
    q, k, v = qkv(tgt=5, src=7)
    seen = []

    def term(weights: torch.Tensor) -> torch.Tensor:
        seen.append(weights)
        return torch.ones(2, 3, 5, 8)

    out = attend(q, k, v, Visible(key_padding=padding), value_term=term)
    torch.testing.assert_close(out, attend(q, k, v, Visible(key_padding=padding)) + 1)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 3, 5))
    assert (seen[0][0, :, :, 4:] == 0).all()
