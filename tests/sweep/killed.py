"""A sweep that is killed and typed again, against the same one left alone."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rope_mt.sweep.ledger import DONE, Ledger

# keys of a result that are never the same twice
CLOCK = {"training_seconds", "validation_seconds", "scoring_seconds", "tokens_per_second", "checksum", "finished"}

Start = Callable[[list[str], Path, Path], Any]  # words, folder, log -> something like a subprocess.Popen


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
    assert len(results(alone)) == jobs
    assert results(killed) == results(alone)
    assert comparison(killed) == comparison(alone)


def results(cwd: Path) -> dict[str, dict[str, Any]]:
    """The result of each run without times, and its translations."""
    by_run = {}
    for file in sorted((cwd / "outputs").glob("*/result.json")):
        result = {name: value for name, value in json.loads(file.read_text()).items() if name not in CLOCK}
        del result["files"]["metrics.jsonl"]  # it has times, too
        by_run[file.parent.name] = {**result, "hypotheses": (file.parent / "test.hyp").read_text()}
    return by_run


def comparison(cwd: Path) -> dict[str, Any]:
    """The comparison at the end of the sweep, without folders and times."""
    [folder] = (cwd / "outputs" / "sweeps").iterdir()
    comparison = json.loads((folder / "sweep.json").read_text())["comparison"]
    for row in [*comparison["groups"], *comparison["runs"]]:
        row.pop("tokens_per_second")
        row.pop("folder", None)
    return comparison
