"""How many threads each of several processes on a machine takes."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rope_mt.training.processes import share_cores


@pytest.fixture
def threads(monkeypatch) -> Iterator[Callable[..., int]]:
    """The threads of one of so many processes, whose parent, torchrun, was started with these variables."""
    before = torch.get_num_threads()
    torchrun: list[subprocess.Popen] = []

    def found(processes: int, cores: int, **variables: str) -> int:
        torchrun.append(subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], **variables}))
        while not Path(f"/proc/{torchrun[-1].pid}/environ").read_bytes():  # for a moment after exec it is empty
            time.sleep(0.001)
        monkeypatch.setattr(os, "getppid", lambda: torchrun[-1].pid)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
        torch.set_num_threads(1)  # as torchrun has it
        share_cores(processes)
        return torch.get_num_threads()

    yield found
    for process in torchrun:
        process.kill()
        process.wait()
    torch.set_num_threads(before)


@pytest.mark.parametrize(("processes", "cores", "share"), [(2, 16, 8), (3, 16, 5), (8, 4, 1)])
def test_each_takes_its_share_of_the_cores(threads, processes, cores, share):
    assert threads(processes, cores) == share


def test_what_the_user_has_set_stays(threads):
    assert threads(2, 16, OMP_NUM_THREADS="1") == 1
