"""Freed memory is kept, as the system counts the pages that a process claims."""

import platform
import subprocess
import sys

import pytest

CLAIMS = """
import resource, torch
from rope_mt.cli.main import main
if {kept}:
    main(["--version"])
torch.set_num_threads(1)
def step(): return [torch.ones(n, 1 << 20) for n in (2, 5, 1, 7)]
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_claimed(kept: bool) -> int:
    code = CLAIMS.format(kept=kept)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(said.splitlines()[-1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory when told to")
def test_memory_of_one_step_serves_the_next():
    assert pages_claimed(kept=True) < pages_claimed(kept=False) / 4
