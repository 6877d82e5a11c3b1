"""Several processes that train one model: who they are, and how they wait for each other.

`torchrun --nproc-per-node N -m rope_mt train ...` starts them and tells each its rank; alone, a process is the first
of one. Outside of the steps they meet in torchrun's key-value store and not on the device: there one may wait for as
long as it takes, and hears when the one waited for has failed.
"""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # pyright: ignore[reportPrivateImportUsage]: documented to be there
from torch.distributed.rendezvous import rendezvous

from rope_mt.errors import UserError
from rope_mt.system.device import choose_device

PATIENCE = 10.0  # seconds that a process whose job has failed gives the others to end it too
POLL = 0.05  # seconds


class OtherFailedError(UserError):
    """The job has failed in another process."""


class OutOfStepError(BaseException):
    """The others are still in a job that has failed here: this process must end, for then torchrun ends them all."""


@dataclass(frozen=True)
class Processes:
    """This process's rank, and how many there are, in all and on each machine."""

    rank: int = 0
    world: int = 1
    per_machine: int = 1
    store: Store | None = None  # of this job alone; None where there is one process
    meetings: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and scores."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here.

        Raises:
            OtherFailedError: the job has ended in another one, which will not come.
        """
        if self.store is None:
            return
        meeting = next(self.meetings)
        self.store.set(f"meeting/{meeting}/{self.rank}", "here")
        for other in range(self.world):
            while True:
                ended = self.store.check([f"end/{other}"])  # asked first: it may come here and end in between
                if self.store.check([f"meeting/{meeting}/{other}"]):
                    break
                if ended:
                    raise OtherFailedError(f"process {other} of {self.world} has failed")
                time.sleep(POLL)

    def first_says(self, said: str) -> str:
        """What the first process says, in each of them; another may have looked at a disk at another moment.

        Raises:
            OtherFailedError: the first has failed.
        """
        if self.store is None:
            return said
        if self.first:
            self.store.set("said", said)
        self.wait()
        said = self.store.get("said").decode()
        self.wait()
        return said

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The body is done by the first process, however long it takes, and then by the others, who find it done.

        Raises:
            OtherFailedError: the first has failed.
        """
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def total(self, nats: Tensor, tokens: int) -> tuple[Tensor, int | Tensor]:
        """Loss and tokens of all processes together; of several they stay on the device, for nobody to wait for it."""
        if self.world == 1:
            return nats, tokens
        both = torch.stack((nats.double(), torch.full_like(nats, tokens, dtype=torch.float64)))
        dist.all_reduce(both)
        return both[0], both[1]

    def end(self, error: BaseException | None) -> bool:
        """Tell the others how this process's job has ended; after an error, go on together or not at all.

        Returns:
            Whether the first process tells of this error, so that this one need not.

        Raises:
            OutOfStepError: the others have not ended the job within `PATIENCE`.
        """
        if self.store is None:
            return False
        said = "" if error is None else f"{type(error).__name__}: {error}"
        self.store.set(f"end/{self.rank}", said)
        if error is None:
            return False
        try:
            ends = [f"end/{other}" for other in range(self.world)]
            self.store.wait(ends, timedelta(seconds=PATIENCE))
        except dist.DistStoreError:
            raise OutOfStepError(f"the job failed in process {self.rank} alone: {said}") from error
        told = self.store.get("end/0").decode()
        return not self.first and bool(told) and (told == said or isinstance(error, OtherFailedError))


ALONE = Processes()
_jobs = itertools.count()


@cache
def _meeting_place() -> Store:
    """The store that torchrun keeps as long as it runs."""
    return next(rendezvous("env://"))[0]


def share_cores(processes: int) -> None:
    """Take as many threads as this process's share of the cores has, unless the user has said how many.

    torchrun, its parent, sets OMP_NUM_THREADS=1 where it finds nothing, and most cores would idle. What it has found
    is in the environment that it was started with.

    Args:
        processes: on this machine, this one counted.
    """
    try:
        environment = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return  # not Linux
    if not any(word.startswith(b"OMP_NUM_THREADS=") for word in environment.split(b"\0")):
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes))


@contextmanager
def together(device_wanted: str) -> Iterator[Processes]:
    """Connect with the other processes that `torchrun` has started, if it has, for one job.

    An error in one process outside of the steps ends the job in all. In a step the others cannot be told: then all
    processes end, and the jobs that would follow do not begin.

    Raises:
        UserError: the device asked for is not there, or the machine has fewer GPUs than processes.
        SystemExit: with code 0, for an error that the first process tells of.
        OutOfStepError: the job has failed here alone.
    """
    world = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    if world == 1:
        yield ALONE
        return
    rank, per_machine = int(os.environ["RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    # every job of a sweep connects anew, and must not find the addresses of the one before
    store = PrefixStore(f"job-{next(_jobs)}", _meeting_place())
    processes = Processes(rank, world, per_machine, store)
    try:
        device = choose_device(device_wanted)
        if device.type == "cpu":
            share_cores(per_machine)
        if device.type == "cuda":
            if per_machine > torch.cuda.device_count():
                raise UserError(f"{per_machine} processes on a machine with {torch.cuda.device_count()} GPUs")
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=world)
        yield processes
    except (Exception, SystemExit) as error:
        told = processes.end(error)
        if dist.is_initialized():
            dist.destroy_process_group()
        if told:
            raise SystemExit(0) from error
        raise
    processes.end(None)
    dist.destroy_process_group()
