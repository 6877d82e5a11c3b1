"""Watches training in this process: which batches it takes, with what loss, and when it would wait for the device.

On a CPU nothing is waited for, so the operations are counted that would wait for a GPU.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from rope_mt.training.module import TranslationModule

# what gives a number to Python, or a tensor of a size that the values decide
OPERATIONS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim"}
CALLS = {Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.item}  # of a tensor on the CPU some run no operation
MASKED = {"index", "index_put", "index_put_"}


@dataclass
class Seen:
    step: int = 0  # that is under way, counted from 1; 0 before the first
    batches: list[str] = field(default_factory=list)  # step and source ids, a line a batch
    counting: bool = True
    updates: list[tuple[Tensor, Any]] = field(default_factory=list)  # loss and tokens of each
    waits: Counter[int] = field(default_factory=Counter)  # by step; what comes between two belongs to the first

    def count(self, waits: bool) -> None:
        if waits and self.counting:
            self.waits[self.step] += 1

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        self.counting = False
        yield
        self.counting = True

    def losses(self) -> list[float]:
        return [float(nats) / int(tokens) for nats, tokens in self.updates]


class _Operations(TorchDispatchMode):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = args[1] if name in MASKED else ()
        by_values = any(mask is not None and mask.dtype in (torch.bool, torch.uint8) for mask in masks)
        self.seen.count(name in OPERATIONS or by_values)
        return func(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.count(func in CALLS)
        return func(*args, **(kwargs or {}))


@contextmanager
def watching() -> Iterator[Seen]:
    """Watch all training inside of the block; what waits is not counted in validation and after training."""
    seen, modes = Seen(), ExitStack()
    honest = {name: vars(TranslationModule)[name] for name in ("training_step", "on_before_optimizer_step")}
    starts, iterator = TranslationModule.on_train_batch_start, DataLoader._get_iterator

    def on_train_batch_start(self, batch, batch_idx):
        modes.close()
        for mode in (_Calls(seen), _Operations(seen)):
            modes.enter_context(mode)
        seen.step = self.global_step + 1
        starts(self, batch, batch_idx)

    def training_step(self, batch, batch_idx):
        with seen.uncounted():
            seen.batches.append(f"{self.global_step} {batch.src.tolist()}")
        return honest["training_step"](self, batch, batch_idx)

    def on_before_optimizer_step(self, optimizer):
        honest["on_before_optimizer_step"](self, optimizer)
        seen.updates.append((self.step_nats, self.step_tokens))

    def stop(self):
        modes.close()

    def _get_iterator(self):
        with seen.uncounted():  # draws a number, which never is on the device
            return iterator(self)

    ours = (on_train_batch_start, training_step, on_before_optimizer_step)
    with pytest.MonkeyPatch.context() as patch, modes:
        for function in ours:
            patch.setattr(TranslationModule, function.__name__, function)
        for end in ("on_validation_start", "on_train_end"):
            patch.setattr(TranslationModule, end, stop)
        patch.setattr(DataLoader, "_get_iterator", _get_iterator)
        yield seen
