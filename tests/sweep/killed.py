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

# never the same twice
CLOCK = {"training_seconds", "validation_seconds", "scoring_seconds", "tokens_per_second", "seal"}


Start = Callable[[list[str], Path, Path], Any]  # words, folder, log -> something like a subprocess.Popen


def finish(start: Start, words: list[str], cwd: Path) -> None:
    """`rope-mt train -m WORDS` to its end, which must be a good one."""
    assert start(["train", "-m", *words], cwd, cwd / "finished.log").wait(timeout=1800) == 0, _said(cwd)


def kill_at(start: Start, words: list[str], cwd: Path, steps: float) -> None:
    """The same until its jobs have so many steps behind them together; then it is killed with all its children."""
    sweep = start(["train", "-m", *words], cwd, cwd / "killed.log")
    while _steps(cwd) < steps:
        assert sweep.poll() is None, _said(cwd)
        time.sleep(0.02)
    with suppress(ProcessLookupError):  # it has ended in this moment
        os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()


def _said(cwd: Path) -> str:
    return "".join(log.read_text() for log in cwd.glob("*.log"))


def _steps(cwd: Path) -> float:
    found = 0.0
    for folder in (cwd / "outputs" / "sweeps").glob("*"):
        for entry in Ledger(folder).entries():
            found += entry.max_steps if entry.state == DONE else entry.progress().get("step", 0)
    return found


def killed_twice(start: Start, words: list[str], cwd: Path, steps: int, dice: random.Random) -> None:
    """Kill the sweep at two random moments of its `steps` in all, type it a third time, and wait for its end."""
    moments = sorted(dice.uniform(0, steps) for _ in range(2))
    print(f"killed when {moments[0]:.0f} and {moments[1]:.0f} steps were done")
    for moment in moments:
        kill_at(start, words, cwd, moment)
    finish(start, words, cwd)


def results(cwd: Path) -> dict[str, dict[str, Any]]:
    """What each run found, without what tells the time."""
    found = {}
    for file in sorted((cwd / "outputs").glob("*/result.json")):
        result = {name: value for name, value in json.loads(file.read_text()).items() if name not in CLOCK}
        del result["files"]["metrics.jsonl"]  # which has times, too
        found[file.parent.name] = {**result, "hypotheses": (file.parent / "test.hyp").read_text()}
    return found


def comparison(cwd: Path) -> dict[str, Any]:
    """The comparison that the sweep ended with, without folders and what tells the time."""
    [folder] = (cwd / "outputs" / "sweeps").iterdir()
    found = json.loads((folder / "sweep.json").read_text())["comparison"]
    for row in [*found["groups"], *found["runs"]]:
        row.pop("tokens_per_second")
        row.pop("folder", None)
    return found
