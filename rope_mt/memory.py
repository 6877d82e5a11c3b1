"""How the C library treats memory that this process has freed."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's numbers, <malloc.h>


def keep_freed() -> None:
    """Keep freed memory for the next tensor instead of giving it back to the system; only glibc can.

    Tensors of some megabytes come and go at every step. By default most are given back at once, and claimed again page
    by page: a tenth of the processor time of decoding. From 32 MiB on, glibc always gives them back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 32 << 20)
        mallopt(TRIM_THRESHOLD, 1 << 30)
