"""The loss and its gradients, computed in chunks, are those of torch's cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

import rope_mt.model.loss as loss_module
from rope_mt.model.loss import smoothed_cross_entropy


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(150, 16, generator=generator, requires_grad=True)
    weight = torch.randn(41, 16, generator=generator, requires_grad=True)
    return hidden, weight, torch.randint(0, 41, (150,), generator=generator)


@pytest.mark.parametrize("at_once", [1, 41 * 128, 10**6])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_equal_those_of_torch_at_any_chunk_size(monkeypatch, at_once, smoothing):
    monkeypatch.setitem(loss_module.LOGITS_AT_ONCE, "cpu", at_once)
    hidden, weight, target = inputs()
    theirs = F.cross_entropy(hidden @ weight.T, target, label_smoothing=smoothing)
    expected = torch.autograd.grad(3 * theirs, (hidden, weight))
    ours = smoothed_cross_entropy(hidden, weight, target, smoothing)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(3 * ours, (hidden, weight)), expected)


def test_under_autocast_the_loss_is_close_and_stays_float32():
    hidden, weight, target = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        ours = smoothed_cross_entropy(hidden, weight, target, 0.1)
    gradients = torch.autograd.grad(ours, (hidden, weight))
    assert {x.dtype for x in (ours, *gradients)} == {torch.float32}
    full = smoothed_cross_entropy(hidden, weight, target, 0.1)
    assert ours != full
    torch.testing.assert_close(ours, full, rtol=0.02, atol=0)


def test_the_loss_can_be_computed_without_a_gradient():
    hidden, weight, target = inputs()
    with torch.inference_mode():
        ours = smoothed_cross_entropy(hidden.detach(), weight, target, 0.0)
    torch.testing.assert_close(ours, F.cross_entropy(hidden @ weight.T, target))
