"""Dropout zeroes the right fraction, keeps the mean, and follows the seed."""

import pytest
import torch

from rope_mt.model.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fraction_of_zeros_and_the_mean(p, dtype):
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(301, 1003, dtype=dtype))
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert len(y.unique()) == 2
    assert y.dtype == dtype
    x = torch.rand(301, 1003, dtype=dtype) + 0.5  # of 1 alone the scale is rounded like the product
    y, x = Dropout(p)(x).double(), x.double()
    scale = 256 / (256 - min(round(256 * p), 255))
    assert (y.sum() / x[y != 0].sum()).item() == pytest.approx(scale, rel=5e-4)
    assert (y.sum() / x.sum()).item() == pytest.approx(1, rel=0.03)


def test_features_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(4000, 64)) == 0).float()
    correlations = torch.corrcoef(dropped.T) - torch.eye(64)
    assert correlations.abs().max() < 0.1


def test_the_gradient_has_the_same_mask():
    x = torch.randn(5, 7, 3, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


def test_the_seed_decides_and_evaluation_drops_nothing():
    x, outputs = torch.randn(50, 3), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(Dropout(0.5)(x))
    first, same, other = outputs
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert Dropout(0.5).eval()(x) is x
