"""The memory, files and threads that training of a very small model holds, from its first step to its last."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rope_mt.runs.folder import RunFolder, last_logged


@dataclass
class Held:
    """What a process holds at a step."""

    step: int
    memory: float  # MB of its own, without files that are mapped
    files: int
    threads: int


def watch(process: Any, cwd: Path) -> list[Held]:
    """Look at a run ten times a second while it trains."""
    moments: list[Held] = []
    while process.poll() is None:
        time.sleep(0.1)
        run = RunFolder(next(cwd.glob("outputs/files-*"), cwd))
        step = int(last_logged(run).get("step", 0))
        if not step or run.average.is_dir():  # scoring is another matter
            continue
        try:
            status = dict(re.findall(r"(\w+):\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()))
            memory = (int(status["RssAnon"]) + int(status["RssShmem"])) / 1_000
            files = len(os.listdir(f"/proc/{process.pid}/fd"))
        except (OSError, KeyError):  # it has just ended
            continue
        moments.append(Held(step, memory, files, int(status["Threads"])))
    return moments


def check(moments: list[Held], warm_up: float = 0.1) -> None:
    """After the warm-up, a fraction of the steps, memory stays and there are no more files and threads.

    Memory: the line through all moments rises less than 2 %, or the medians of ten parts lie closer. Files and threads:
    the fewest of the last quarter are at most those of the first; batches that loader workers have ready are files too.
    """
    rest = [moment for moment in moments if moment.step >= warm_up * moments[-1].step]
    steps, memory = np.array([moment.step for moment in rest]), np.array([moment.memory for moment in rest])
    rise = np.polyfit(steps, memory, 1)[0] * (steps[-1] - steps[0]) / memory.mean()
    medians = [float(np.median(part)) for part in np.array_split(memory, 10)]
    apart = (max(medians) - min(medians)) / memory.mean()
    print(f"{len(moments)} moments, {moments[-1].step:,} steps: memory {medians} MB, {rise:.2%} in {apart:.2%}")
    assert min(abs(rise), apart) < 0.02
    for name in ("files", "threads"):
        quarters = np.array_split(np.array([getattr(moment, name) for moment in rest]), 4)
        print(name, quarters[0].min(), quarters[-1].min())
        assert quarters[-1].min() <= quarters[0].min()
