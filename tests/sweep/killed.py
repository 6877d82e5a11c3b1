"""A sweep that is killed and typed again, against the same one left alone."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rope_mt.runs.folder import RunFolder
from rope_mt.sweep.ledger import DONE, Ledger

from ..training.killed_run import Start, differences, left_by


def kill_at(start: Start, words: list[str], cwd: Path, steps: float) -> None:
    """Type a sweep, and kill it with all its children when its jobs have made so many steps together."""
    log = cwd.with_name("killed.log")
    sweep = start(words, cwd, log)
    while _steps(cwd) < steps:
        assert sweep.poll() is None, log.read_text()
        time.sleep(0.02)
    with suppress(ProcessLookupError):  # it has ended in this moment
        os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()


def _steps(cwd: Path) -> float:
    steps = 0.0
    for folder in (cwd / "outputs" / "sweeps").glob("*"):
        for entry in Ledger(folder).entries():
            steps += entry.max_steps if entry.state == DONE else entry.progress().get("step", 0)
    return steps


def check_killed(start: Start, words: list[str], folder: Path, *, jobs: int, steps: int, kills: int) -> None:
    """Kill a sweep at random moments of its jobs' steps, type it again, and compare it with one left alone."""
    words = ["train", "-m", *words]
    moments = sorted(random.uniform(0, jobs * steps) for _ in range(kills))
    print("killed after so many steps:", *map(round, moments))
    alone, killed = folder / "alone", folder / "killed"
    for cwd in (alone, killed):
        cwd.mkdir()
        for moment in moments if cwd == killed else ():
            kill_at(start, words, killed, moment)
        assert start(words, cwd, folder / "finished.log").wait(timeout=1800) == 0, (folder / "finished.log").read_text()
    expected = sweep_outcome(alone)
    assert len(expected) == jobs + 1
    assert list(differences(sweep_outcome(killed), expected)) == []


def sweep_outcome(cwd: Path) -> dict[str, Any]:
    """All that the runs of a sweep leave, and the comparison at its end."""
    runs = {file.parent.name: left_by(RunFolder(file.parent)) for file in (cwd / "outputs").glob("*/result.json")}
    [record] = (cwd / "outputs" / "sweeps").glob("*/sweep.json")
    return {**runs, "comparison": json.loads(record.read_text())["comparison"]}
