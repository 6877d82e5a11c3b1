"""Layers in training in autocast's precision, whose weights are cast once instead of one by one where they are used."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rope_mt.system.device import on_cpu


def call_layer(layer: nn.Module, x: Tensor, *others: Any) -> Tensor:
    """layer(x, *others); in training under autocast on a GPU, with x and all weights in its precision.

    What flows between sublayers then has that precision, too. Layers are cast one by one, so that DDP can send the
    gradients of the last layer while those of the others are computed. Keys and values of the source are made before
    the layer is called: their weights stay as they are. A CPU has no launches to save, and is 8 % slower this way.
    """
    device = x.device.type
    if on_cpu(x) or not (torch.is_grad_enabled() and torch.is_autocast_enabled(device)):
        return layer(x, *others)
    dtype = torch.get_autocast_dtype(device)
    weights = {name: weight for name, weight in layer.named_parameters() if ".kv." not in name}
    cast = dict(zip(weights, _Cast.apply(dtype, *weights.values()), strict=True))
    with torch.autocast(device, enabled=False):
        return functional_call(layer, cast, (x.to(dtype), *others))


class _Cast(torch.autograd.Function):
    """All weights by one op, and all their gradients back by another."""

    @staticmethod
    def forward(ctx, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        return _copied(weights, dtype)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        return None, *_copied(grad_outputs, torch.float32)


def _copied(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    copies = tuple(torch.empty_like(tensor, dtype=dtype) for tensor in tensors)
    torch._foreach_copy_(copies, tensors)  # pyright: ignore[reportPrivateImportUsage]: as torch's optimizers do
    return copies
