"""Memory: freed memory is kept for the next tensors, and the message where none is left."""

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rope_mt.errors import UserError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's numbers, <malloc.h>
# torch's messages where memory is short: of a GPU, of a CPU, and of oneDNN
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "could not create a primitive")


def keep_freed() -> None:
    """Keep freed memory for the next tensor instead of giving it back to the system; only glibc can.

    Giving back tensors of some megabytes at every step, and claiming them again page by page, takes a tenth of the
    processor time of decoding. glibc always gives back 32 MiB and more.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(MMAP_THRESHOLD, 32 << 20)
        mallopt(TRIM_THRESHOLD, 1 << 30)


def keep_kernels() -> None:
    """Let oneDNN, and PyTorch's own layer above it, each cache 2,048 compiled kernels instead of 1,024.

    In bf16 on a CPU every shape of a product has a kernel of its own: 1,250 in training with 32 shapes of batches. Both
    caches drop the kernel used longest ago, so one that is a little too small compiles nearly all kernels anew at every
    step. Both libraries read these variables when torch is imported; a value that the user has set stays.
    """
    os.environ.setdefault("LRU_CACHE_CAPACITY", "2048")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "2048")


def peak_of_process() -> int:
    """The largest memory in bytes that this process has had since it began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def of_machine() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@contextmanager
def short_of_memory(doing: Callable[[], str]) -> Iterator[None]:
    """Raise a UserError that says what the block was `doing`, and what to lower, when memory ran out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch raises a RuntimeError
        if isinstance(error, MemoryError) or any(message in str(error) for message in OUT_OF_MEMORY):
            raise UserError(f"out of memory {doing()}") from error
        raise
