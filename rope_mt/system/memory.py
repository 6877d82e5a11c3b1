"""Memory: what the C library does with what this process has freed, and what is said when there is none left."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rope_mt.errors import UserError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's numbers, <malloc.h>
# what torch says where there is no memory: of a GPU, of a processor, and oneDNN's way to say it
SIGNS = ("out of memory", "can't allocate memory", "could not create a primitive")


def keep_freed() -> None:
    """Keep freed memory for the next tensor instead of giving it back to the system; only glibc can.

    Tensors of some megabytes come and go at every step. By default most are given back at once, and claimed again page
    by page: a tenth of the processor time of decoding. From 32 MiB on, glibc always gives them back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 32 << 20)
        mallopt(TRIM_THRESHOLD, 1 << 30)


def keep_few_kernels() -> None:
    """Have oneDNN and PyTorch's own layer above it each keep what they compile for 256 shapes, not for 1,024.

    In bf16 on a CPU every shape of a batch has kernels of its own, and rare shapes go on coming for 16,000 steps. Both
    read this when torch is imported; what the user has set stays.
    """
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "256")


@contextmanager
def short_of_memory(doing: Callable[[], str]) -> Iterator[None]:
    """Tell the user what the block was doing when it runs out of memory, a GPU's or the machine's, and what to lower.

    Raises:
        UserError: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own kind is a RuntimeError; on a CPU it has none
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in SIGNS):
            raise UserError(f"out of memory {doing()}") from error
        raise
