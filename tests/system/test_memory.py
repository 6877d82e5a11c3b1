"""Freed memory is kept, as the system counts the pages that a process claims."""

import platform
import subprocess
import sys

import pytest

PAGES = """
import resource
import numpy as np
from rope_mt.cli.main import main

def step():
    return [np.ones((n, 1 << 18)) for n in (2, 5, 1, 7)]

def claimed():
    step(), step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

by_default = claimed()
main(["--version"])
print(by_default, claimed())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory when told to")
def test_memory_of_one_step_serves_the_next():
    printed = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True).stdout
    by_default, kept = map(int, printed.split()[-2:])
    assert kept < by_default / 4
