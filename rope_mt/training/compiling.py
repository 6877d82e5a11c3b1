"""`trainer.compile`: a function of a training step as graphs that torch's compiler has made."""

import os
import shutil
from collections.abc import Callable

from torch import Tensor

from rope_mt.errors import UserError

MOST_GRAPHS = 256  # a corpus has up to 48 shapes of batches, and the last batches of an epoch may have others


def require_compiler() -> None:
    """Raise a UserError where torch's compiler finds no compiler of C++, which it needs for a CPU and for a GPU."""
    if not any(map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))):
        raise UserError("trainer.compile=true needs a compiler of C++: install g++, or leave the setting out")


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function as one graph for each shape of its arguments."""
    import torch._dynamo  # which takes seconds

    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = MOST_GRAPHS
    return torch.compile(function, fullgraph=True, dynamic=False)


def graphs() -> int:
    """How many graphs this process has compiled."""
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"]
