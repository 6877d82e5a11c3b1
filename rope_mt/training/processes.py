"""Several processes that train one model: who they are, and how they wait for each other.

`torchrun --nproc-per-node N -m rope_mt train ...` starts them and tells each its rank; alone, a process is the first
of one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Processes:
    """This process's rank, and how many there are, in all and on each machine."""

    rank: int = 0
    world: int = 1
    per_machine: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and scores."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def total(self, count: int) -> int:
        """The sum of every process's count."""
        if self.world == 1:
            return count
        counts = torch.tensor(count, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(counts)
        return int(counts)


ALONE = Processes()


@contextmanager
def together(device: torch.device) -> Iterator[Processes]:
    """Connect with the other processes that `torchrun` has started, if it has."""
    world = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    if world == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world, int(os.environ["LOCAL_WORLD_SIZE"]))
    finally:
        dist.destroy_process_group()
