"""The device that computes, its precision, its name and its memory."""

import platform
import re
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from rope_mt.errors import UserError
from rope_mt.system.memory import peak_of_process

PRECISIONS = ("bf16", "fp32")


def choose_device(wanted: str, setting: str = "device") -> torch.device:
    """The device of this name; `auto` is CUDA, or else Apple's mps, or else the CPU.

    Args:
        setting: where the user has named it.

    Raises:
        UserError: this machine has no such device.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    available = [name for name in here if here[name]]
    if wanted == "auto":
        return torch.device(available[0])
    if wanted not in available:
        raise UserError(f"this machine has no {wanted} device: use {setting}={' or '.join(available)}, or auto")
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """The precision of this name; `auto` is bf16 where the device multiplies it natively, or else fp32."""
    if wanted != "auto":
        return wanted
    native = False
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        # without AVX512-BF16 or AMX, bf16 products are emulated and slower than fp32
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which matrix products have this precision; weights, softmax and loss stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def on_cpu(x: Tensor) -> bool:
    """Whether torch's own kernels for a CPU compute with this tensor, so that what is fast with them is chosen.

    A compiler makes its own. A fake tensor has no numbers and is counted: it stands for a GPU's.
    """
    return not torch.compiler.is_compiling() and x.device.type == "cpu" and not isinstance(x, FakeTensor)


def describe(device: torch.device) -> str:
    """The name of the GPU, or of the CPU with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor() if device.type == 'cpu' else device.type}, {threads} thread{'s' * (threads > 1)}"


def processor() -> str:
    """The name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")  # Linux has it
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return model[1] if model else platform.processor() or platform.machine()


def forget_peak_memory(device: torch.device) -> None:
    """Begin to measure a GPU's peak memory anew: this process may have trained other models before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Peak memory in bytes: of tensors on a GPU, of the whole process on a CPU since it began; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_of_process() if device.type == "cpu" else None
