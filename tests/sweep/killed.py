"""A sweep that is killed and typed again, against the same one left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rope_mt.sweep.ledger import DONE, Ledger

CLOCK = {"training_seconds", "validation_seconds", "scoring_seconds", "tokens_per_second"}  # never the same twice


def type_sweep(words: list[str], cwd: Path, log: str) -> subprocess.Popen[bytes]:
    """`rope-mt train -m WORDS` in a process group of its own; what it says is in the file `log`."""
    with open(cwd / log, "wb") as said:
        command = [sys.executable, "-m", "rope_mt", "train", "-m", *words]
        env = {**os.environ, "WANDB_MODE": "offline"}
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=said, stderr=said, start_new_session=True)


def finish(words: list[str], cwd: Path, log: str) -> None:
    """The same to its end, which must be a good one."""
    assert type_sweep(words, cwd, log).wait(timeout=1800) == 0, (cwd / log).read_text()


def kill_at(words: list[str], cwd: Path, log: str, steps: float) -> None:
    """The same until its jobs have so many steps behind them together; then it is killed with all its children."""
    sweep = type_sweep(words, cwd, log)
    while _steps(cwd) < steps:
        assert sweep.poll() is None, (cwd / log).read_text()
        time.sleep(0.02)
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()


def _steps(cwd: Path) -> float:
    found = 0.0
    for folder in (cwd / "outputs" / "sweeps").glob("*"):
        for entry in Ledger(folder).entries():
            found += entry.max_steps if entry.state == DONE else entry.progress().get("step", 0)
    return found


def killed_twice(words: list[str], cwd: Path, steps: int, dice: random.Random) -> None:
    """Kill the sweep at two random moments of its `steps` in all, type it a third time, and wait for its end."""
    moments = sorted(dice.uniform(0, steps) for _ in range(2))
    print(f"killed when {moments[0]:.0f} and {moments[1]:.0f} steps were done")
    for number, moment in enumerate(moments):
        kill_at(words, cwd, f"killed-{number}.log", moment)
    finish(words, cwd, "finished.log")


def results(cwd: Path) -> dict[str, dict[str, Any]]:
    """What each run found, without what tells the time."""
    found = {}
    for file in sorted((cwd / "outputs").glob("*/result.json")):
        result = {name: value for name, value in json.loads(file.read_text()).items() if name not in CLOCK}
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
