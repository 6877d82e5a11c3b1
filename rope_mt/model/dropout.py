"""Dropout with random numbers that are cheap on a CPU."""

import torch
from torch import Tensor, nn

from rope_mt.system.device import on_cpu


class Dropout(nn.Module):
    """Set a fraction p of the features to zero and scale up the rest: Srivastava et al. 2014.

    On a CPU torch draws one number per feature, on one core. Here eight features share one draw of 64 bits. So p is
    rounded to a multiple of 1/256, and the scale uses the rounded p, so that the mean stays the same.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if not on_cpu(x):
            return torch.native_dropout(x, self.p, True)[0]
        drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        dropped = min(round(256 * self.p), 255)  # of the 256 values of a byte
        # ge writes numbers of x's dtype; converting a bool mask takes ten times as long
        kept = torch.empty_like(x, memory_format=torch.contiguous_format, requires_grad=False)
        torch.ge(drawn.view(torch.uint8)[: x.numel()].view(x.shape), dropped, out=kept)
        return (x * kept).mul_(256 / (256 - dropped))  # the number is none of bf16, and would be rounded in `kept`
