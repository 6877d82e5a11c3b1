"""Which processor computes, and in which precision."""

import platform
import re
import resource
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from rope_mt.errors import UserError


def choose_device(wanted: str) -> torch.device:
    """CUDA, else Apple's mps, else the CPU, unless one is asked for by name.

    Raises:
        UserError: the device asked for is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, available in there.items() if available))
    if not there[wanted]:
        available = " or ".join(name for name, yes in there.items() if yes)
        raise UserError(f"this machine has no {wanted} device: use device={available}, or auto")
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """bf16 where the processor multiplies it natively, else fp32, unless one is asked for by name."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        # without AVX512-BF16 or AMX, bf16 products are emulated and slower than fp32
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        native = False
    return "bf16" if native else "fp32"


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which matrix products have this precision; weights, softmax and loss stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def describe(device: torch.device) -> str:
    """The device as a person would name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor() if device.type == 'cpu' else device.type}, {threads} thread{'s' * (threads > 1)}"


def processor() -> str:
    """The name that the system has for the CPU."""
    known = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", known.read_text()) if known.is_file() else []
    return next(iter(names), platform.processor() or platform.machine())


def forget_peak_memory(device: torch.device) -> None:
    """On a GPU, count the most bytes in use from now on: a process may have trained other models before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes in use: tensors on a GPU, all of the process on a CPU since it began; None where it is unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
