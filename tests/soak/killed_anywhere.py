"""By hand, twenty minutes on two cores: pytest -s tests/soak/killed_anywhere.py

Fifty kills and more of training in each phase, at any moment, and of evaluation, each followed by the same command: no
file with a final name is half, the last two checkpoints are there, and the end is that of a run left alone, to the bit.
"""

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

from .. import warm
from ..training.killed_run import PHASES, Typed, check_files, differences, killed_in_turn, outcome, seeded, words


def test_a_run_killed_fifty_times_ends_as_one_left_alone(tmp_path):
    dice, forked = seeded(), partial(warm.start, slow_disk=0.02)
    typed = words(tmp_path / "text")
    hits, seconds, expected, turns = Counter[str](), {}, [], 0
    for workers, start in enumerate((forked, warm.type_command)):
        alone = Typed(start, tmp_path / f"alone-{workers}", [*typed, f"data.workers={workers}"])
        alone.finish()
        expected.append({**outcome(alone), "eval": alone.eval()})
        seconds[start] = alone.seconds
    while hits.total() < 50 or min(hits[phase] for phase in PHASES) < 5:
        start, workers = warm.type_command if turns < 3 else forked, turns % 2
        middle = [*PHASES[1:4], "any"]
        dice.shuffle(middle)
        turns += 1
        killed = Typed(start, tmp_path / f"killed-{turns}", [*typed, f"data.workers={workers}"], dice)
        hits += killed_in_turn(killed, ["prepare", *middle, "scoring", "eval"], seconds[start])
        kind = "real" if start is warm.type_command else "forked"
        print(f"{turns} runs, the last one {kind}, with {workers} loader workers: {dict(hits)}", flush=True)
        assert list(differences({**outcome(killed), "eval": killed.eval()}, expected[workers])) == []


def test_a_run_of_two_processes_killed_twenty_times_ends_as_one_left_alone(tmp_path):
    """Killed is the command, one of its training processes, or both; the command or the next one then ends the rest."""
    dice, typed = seeded(), [*words(tmp_path / "text"), "trainer.devices=2"]
    alone = Typed(warm.type_command, tmp_path / "alone", typed)
    alone.finish()
    expected, hits, runs = outcome(alone), Counter[str](), 0
    while hits.total() < 20:
        killed, runs = Typed(warm.type_command, tmp_path / f"killed-{runs}", typed, dice), runs + 1
        while killed.process is None or killed.process.returncode != 0:
            killed.type()
            deadline = time.monotonic() + dice.uniform(0.2, 1.1) * alone.seconds["train"]
            while killed.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            training = training_processes(killed.process.pid)
            victims = dice.choice([[killed.process.pid], training[-1:], training[:1], [killed.process.pid, *training]])
            if killed.process.poll() is None and victims:
                for pid in victims:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                hits["command" if killed.process.pid in victims else "process"] += 1
            code = killed.process.wait(timeout=300)
            assert code in (0, 2, -signal.SIGKILL), killed.log.read_text()
            for pid in training:
                while Path(f"/proc/{pid}").exists():
                    time.sleep(0.05)
            check_files(killed)
        print(f"{runs} runs: {dict(hits)}", flush=True)
        assert list(differences(outcome(killed), expected)) == []


def training_processes(command: int) -> list[int]:
    """The processes that a command has started to train."""
    children = Path(f"/proc/{command}/task/{command}/children")
    pids = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    return [pid for pid in pids if b"rope_mt.training.fit" in Path(f"/proc/{pid}/cmdline").read_bytes()]
