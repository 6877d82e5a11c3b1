"""A run that is killed, interrupted or beside another one ends as one left alone. For longer: tests/soak/."""

import getpass
import os
import re
import shutil
import signal
import socket
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.system.manifest import FILES
from tests import warm

from .killed_run import PHASES, Start, Typed, check_files, differences, killed_in_turn, outcome, words

SLOW = 0.01  # s: so that what lies on the disk for a moment can be seen from outside


@pytest.fixture(scope="module")
def typed(tmp_path_factory) -> list[str]:
    return words(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def start() -> Start:
    warm.address()  # so that no command is thought to take as long as starting the server
    return partial(warm.start, slow_disk=SLOW)


@pytest.fixture(scope="module")
def alone(start, typed, tmp_path_factory) -> Typed:
    """A run that nobody disturbs, in a real process with another hash seed, and with loader workers."""
    real = partial(warm.type_command, PYTHONHASHSEED="7")
    run = Typed(real, tmp_path_factory.mktemp("alone"), [*typed, "data.workers=2"])
    run.finish()
    run.start = start
    return run


@pytest.fixture(scope="module")
def expected(alone) -> dict[str, Any]:
    return outcome(alone)


def test_a_run_killed_in_every_phase_ends_as_one_left_alone(start, typed, alone, expected, tmp_path):
    scores = alone.eval()
    hits: Counter[str] = Counter()
    missing = [*PHASES]
    for turn in range(10):  # a kill may come too late
        killed = Typed(start, tmp_path / f"killed-{turn}", typed)
        hits += killed_in_turn(killed, missing, alone.seconds)
        print(f"killed in {dict(hits)}")
        assert list(differences(outcome(killed), expected)) == []
        assert killed.eval() == scores
        if not (missing := [phase for phase in PHASES if not hits[phase]]):
            break
    assert not missing


def test_a_signal_leaves_nothing_half_and_the_same_command_goes_on(start, typed, expected, tmp_path):
    """Where it is not awaited, in training and validation: tests/training/test_interruption.py."""
    run = Typed(start, tmp_path, typed)
    for phase, signum in {"prepare": signal.SIGINT, "validation": signal.SIGINT, "scoring": signal.SIGTERM}.items():
        assert run.reach(phase)
        os.kill(run.process.pid, signum)
        code, output = run.process.wait(), run.log.read_text()
        assert code in (128 + signum, -signum), output  # which a shell calls the same
        assert "Traceback" not in output
        if phase == "validation":
            line = r"^rope-mt: interrupted; step (\d+) is saved, and the same command goes on .+\n\Z"
            message = re.search(line, output, re.M)
            assert message
            assert (run.run.checkpoints / f"step-{int(message[1]):07d}").is_dir()
        if code == 130:
            assert not list(tmp_path.rglob(f".*.{run.process.pid}"))
        check_files(run)
    run.finish()
    assert list(differences(outcome(run), expected)) == []
    assert not list(tmp_path.rglob(".*.[0-9]*"))  # not even of what had no time to tidy up


def test_an_interrupted_translation_leaves_no_file(start, alone, tmp_path):
    (tmp_path / "in.en").write_text("The old dog sees the cat.\n" * 3_000)
    words = ["translate", str(alone.run.path), f"translate.input={tmp_path}/in.en", f"translate.output={tmp_path}/out"]
    process = start(words, tmp_path, tmp_path / "log")
    while not list(tmp_path.glob(".out.*")):
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait() == 130
    assert (tmp_path / "log").read_text() == "rope-mt: interrupted\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.en", "log"]


def test_two_runs_at_once_prepare_one_text_and_end_as_each_alone(start, typed, alone, expected, tmp_path):
    """And the command of one of them, typed again meanwhile, is message who is at it."""
    other = Typed(start, alone.cwd, typed, seed=2)
    other.finish()
    slow = partial(warm.start, slow_disk=4 * SLOW)
    first, second = runs = [Typed(slow, tmp_path / "cwd", typed, seed=seed) for seed in (1, 2)]
    for run in runs:
        run.type()
    while first.phase() != "training":
        assert not first.ended()
        time.sleep(0.01)
    again = start(["train", *typed, "seed=1"], first.cwd, tmp_path / "again")
    assert again.wait() == 2
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+"
    owner = rf"{getpass.getuser()} on {socket.gethostname()}, process %s, {since}"
    folder = first.run.path.relative_to(first.cwd)
    assert re.fullmatch(
        rf"rope-mt: another rope-mt \({owner % first.process.pid}\) is training {folder}: "
        r"wait until it has ended, or end it\n",
        (tmp_path / "again").read_text(),
    )
    for run in runs:
        assert run.process.wait() == 0, run.log.read_text()
    pids = "|".join(str(run.process.pid) for run in runs)
    waited = rf"waiting for another rope-mt \({owner % f'({pids})'}\) that is at work in data/"
    assert len(re.findall(waited, first.log.read_text() + second.log.read_text())) == 1
    assert list(differences(outcome(first), expected)) == []
    assert list(differences(outcome(second), outcome(other))) == []


def test_two_analyses_of_one_run_at_once_do_not_disturb_each_other(start, alone, tmp_path):
    run = RunFolder(Path(shutil.copytree(alone.run.path, tmp_path / "run")))
    before = read_result(run)
    words = ["analyze", "lengths", str(run.path), "--joined", "2", "--out", "same"]
    both = [start(words, tmp_path, tmp_path / f"log-{n}") for n in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    logs = [(tmp_path / f"log-{n}").read_text().splitlines() for n in range(2)]
    waited = [line for log in logs for line in log if line.startswith("waiting for ")]
    assert len(waited) <= 1
    assert [line for line in logs[0] if line not in waited] == [line for line in logs[1] if line not in waited]
    after = read_result(run)
    assert [*after.pop("further_tests")] == ["test-joined-2"]
    added = {f"test-joined-2.{kind}" for kind in ("hyp", "counts")}
    assert after.pop(FILES).keys() - before.pop(FILES).keys() == added
    assert after.items() <= before.items()
