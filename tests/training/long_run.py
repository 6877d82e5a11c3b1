"""What training of a very small model holds of the machine, from its first step to its last."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rope_mt.runs.folder import RunFolder

WARM_UP = 0.1  # of the steps


@dataclass
class Held:
    """By a process, at some moment."""

    step: int
    memory: float  # MB that are its own, files that are mapped left out
    files: int
    threads: int


def held(pid: int, step: int) -> Held:
    """Raises OSError when the process has ended."""
    status = dict(re.findall(r"(\w+):\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))
    memory = (int(status["RssAnon"]) + int(status["RssShmem"])) / 1_000
    return Held(step, memory, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]))


def watch(process, cwd: Path) -> list[Held]:
    """Look at a run while it trains, ten times a second."""
    found: list[Held] = []
    while process.poll() is None:
        time.sleep(0.1)
        run = RunFolder(next(cwd.glob("outputs/files-*"), cwd))
        try:
            step = last_step(run.metrics)
            if step and not run.average.is_file():  # scoring is another matter
                found.append(held(process.pid, step))
        except (OSError, KeyError):  # it has just ended
            continue
    return found


def last_step(metrics: Path) -> int:
    rows = metrics.read_bytes()[-4_096:] if metrics.is_file() else b""
    found = re.findall(rb'^{"step": (\d+).*\n', rows, re.MULTILINE)
    return int(found[-1]) if found else 0


def growth(found: list[Held], warm_up: float) -> tuple[float, float]:
    """Of memory after the warm-up: how much a line through all moments rises, and how far apart ten medians lie.

    Returns:
        Shares of the mean.
    """
    rest = [one for one in found if one.step >= warm_up * found[-1].step]
    steps, memory = np.array([one.step for one in rest]), np.array([one.memory for one in rest])
    slope = np.polyfit(steps, memory, 1)[0] * (steps[-1] - steps[0])
    medians = [np.median(part) for part in np.array_split(memory, 10)]
    return float(slope / memory.mean()), float((max(medians) - min(medians)) / memory.mean())


def quarters(found: list[Held], what: str) -> tuple[float, float]:
    """The fewest files or threads in the first quarter after the warm-up, and in the last.

    Batches that loader workers have ready are files too, now more and now fewer.
    """
    rest = [getattr(one, what) for one in found if one.step >= WARM_UP * found[-1].step]
    parts = np.array_split(np.array(rest), 4)
    return float(parts[0].min()), float(parts[-1].min())


def check(found: list[Held], warm_up: float = WARM_UP) -> None:
    rises, apart = growth(found, warm_up)
    tenths = [round(float(np.median(part)), 1) for part in np.array_split([one.memory for one in found], 10)]
    files, threads = quarters(found, "files"), quarters(found, "threads")
    print(f"{len(found)} moments, {found[-1].step:,} steps: memory {tenths} MB, rises by {rises:.2%} in {apart:.2%}")
    print(f"files {files}, threads {threads}")
    assert min(abs(rises), apart) < 0.02
    assert files[1] <= files[0]
    assert threads[1] <= threads[0]
