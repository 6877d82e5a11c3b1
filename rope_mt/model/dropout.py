"""Dropout whose random numbers do not hold up a CPU."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Srivastava et al. 2014: zero a share p of the features and scale up the rest.

    torch draws a CPU's masks one feature at a time and on one core. Here eight features share one draw of 64 bits, so
    that p is rounded to a multiple of 1/256; the scale goes by the rounded p, and the mean stays what it was.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        dropped = min(round(256 * self.p), 255)  # of the 256 values of a byte
        # written as numbers of x's kind at once: by way of bool it takes ten times as long
        kept = torch.empty_like(x, memory_format=torch.contiguous_format, requires_grad=False)
        torch.ge(drawn.view(torch.uint8)[: x.numel()].view(x.shape), dropped, out=kept)
        return x * kept.mul_(256 / (256 - dropped))
