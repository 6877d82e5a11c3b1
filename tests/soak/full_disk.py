"""By hand, ten minutes on two cores, as root or in `unshare -rm`: pytest -s tests/soak/full_disk.py

The real command line on a small disk of its own, which others fill at random moments to a random rest, or which becomes
read-only: one line and exit code 2, nothing half; then the same command comes to the end of one with room, bit for bit.
"""

import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .. import warm
from ..sweep.killed import sweep_outcome
from ..system.small_disk import MountedDisk, mounted
from ..training.killed_run import STEPS, Typed, check_files, differences, last_row, outcome, seeded, words

FULL = os.strerror(28)
OURS = re.compile(r"\.lock|\.owner|\..+\.unfinished")  # hidden names that stay where a command has failed


@pytest.fixture
def disk(tmp_path) -> Iterator[MountedDisk]:
    with mounted(tmp_path / "disk", "12m") as disk:
        assert disk, "mounting takes root"
        yield disk


@pytest.fixture
def dice() -> random.Random:
    return seeded()


class Logged(Typed):
    """Its log lies on another disk."""

    @property
    def log(self) -> Path:
        return self.cwd.parents[1] / f"log-{self.cwd.name}"


@pytest.fixture
def text(tmp_path) -> list[str]:
    return words(tmp_path / "text")


def rest(dice: random.Random) -> int:
    return dice.choice([0, dice.randrange(0, 8_000), dice.randrange(0, 200_000)])


def one_line(log: Path, reason: str) -> str:
    """The path in the one line that a command has ended with."""
    output = log.read_text()
    assert "Traceback" not in output, output
    [line] = [line for line in output.splitlines() if line.startswith("rope-mt: ")]
    if written := re.fullmatch(rf"rope-mt: cannot write (\S+): {reason}.*", line):
        return re.sub(r"\d{4,}|-\w{8}\b", "", written[1])
    assert re.search(r"takes up to .* of disk in .* are free: make room for .* more, or choose", line), line
    return "refused"


def no_leftovers(folder: Path) -> None:
    left = [path for path in folder.rglob(".*") if not OURS.fullmatch(path.name) and path.name != ".fill"]
    assert left == []


@pytest.mark.parametrize("tracking", ["none", "wandb"])
def test_a_run_on_a_disk_that_fills_up_again_and_again(disk, dice, text, tracking):
    text = [*text, f"tracking={tracking}"]
    del text[text.index("tracking=none")]
    alone = Logged(warm.start, disk.path / "alone", text)
    alone.finish()
    named = Counter[str]()
    for _ in range(6):
        run = Logged(warm.start, disk.path / "filled", text)
        for _ in range(7):
            disk.make_room()
            least = dice.randint(last_row(run.run)["step"], STEPS)
            run.type()
            if dice.random() < 0.2:  # perhaps before the first step
                time.sleep(dice.uniform(0, 0.5 * alone.seconds["train"]))
            while last_row(run.run)["step"] < least and run.process.poll() is None:
                time.sleep(0.002)
            disk.leave(rest(dice))
            if (code := run.process.wait(timeout=120)) == 0:
                break
            assert code == 2, run.log.read_text()
            named[one_line(run.log, FULL)] += 1
            if tracking == "none":
                no_leftovers(run.cwd)
            check_files(run)
        disk.make_room()
        run.finish()
        assert list(differences(outcome(run), outcome(alone))) == []
        shutil.rmtree(run.cwd)
    print(f"{named.total()} times full: {dict(named)}")


def test_a_sweep_on_a_disk_that_fills_up(disk, dice, text, tmp_path):
    typed = ["train", "-m", *text, "position=rope,none", "seed=1,2"]
    log = tmp_path / "log"
    for name in ("alone", "filled"):
        (disk.path / name).mkdir()
    began = time.monotonic()
    assert warm.start(typed, disk.path / "alone", log).wait(timeout=300) == 0, log.read_text()
    took = time.monotonic() - began
    codes = []
    for _ in range(8):
        disk.make_room()
        process = warm.start(typed, disk.path / "filled", log)
        end = time.monotonic() + dice.uniform(0, took)
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        disk.leave(rest(dice))
        codes.append(process.wait(timeout=300))
        assert "Traceback" not in log.read_text(), log.read_text()
        assert not codes[-1] or FULL in log.read_text() or "of disk in" in log.read_text(), log.read_text()
        no_leftovers(disk.path / "filled")
    disk.make_room()
    assert warm.start(typed, disk.path / "filled", log).wait(timeout=300) == 0, log.read_text()
    assert list(differences(sweep_outcome(disk.path / "filled"), sweep_outcome(disk.path / "alone"))) == []
    print(f"exit codes {codes}")


def test_what_commands_write_of_a_run(disk, dice, text, tmp_path):
    run = Logged(warm.start, disk.path / "run", text)
    run.finish()
    source = tmp_path / "text" / "test.en"
    folder, made, log = str(run.run.path), disk.path / "made", tmp_path / "log-made"
    commands = [
        ["compare", folder, "--plot", f"{made}/bars.png", "--html", f"{made}/report.html"],
        ["export", folder, "--to", "safetensors", "--out", f"{made}/model"],
        ["export", folder, "--to", "ctranslate2", "--out", f"{made}/ct2"],
        ["translate", folder, f"translate.input={source}", f"translate.output={made}/hyp"],
        ["analyze", "convergence", folder, "--out", f"{made}/figure"],
        ["analyze", "decay", folder, "--sentences", "3", "--out", f"{made}/figure"],
        ["prepare", *[word for word in text if word.startswith("data")], f"data.dir={made}"],
    ]
    for command in commands:
        contents = {}
        for left in (None, 0, *(dice.randrange(0, 60_000) for _ in range(8)), None):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            disk.make_room()
            if left is not None:
                disk.leave(left)
            code = warm.start(command, tmp_path, log).wait(timeout=120)
            assert code in ((0,) if left is None else (0, 2)), log.read_text()
            if code:
                one_line(log, FULL)
                no_leftovers(made)
            else:
                files = {path.relative_to(made): path.read_bytes() for path in made.rglob("*") if path.is_file()}
                contents = contents or files
                assert files == contents
        print(f"{' '.join(command[:2])[:30]}: {len(contents)} files")


@pytest.mark.parametrize("forbidden", ["outputs", "run", "checkpoints", "data"])
def test_a_folder_that_becomes_read_only(disk, text, forbidden):
    alone, run = (Logged(warm.start, disk.path / name, text) for name in ("alone", "stopped"))
    alone.finish()
    if forbidden == "data":
        folder = run.cwd / "data"
        folder.mkdir()
        disk.forbid(folder)
        run.type()
    else:
        run.type()
        while not last_row(run.run)["step"]:
            assert not run.ended()
            time.sleep(0.002)
        folder = {"outputs": run.cwd / "outputs", "run": run.run.path, "checkpoints": run.run.checkpoints}[forbidden]
        disk.forbid(folder)
    assert run.process.wait(timeout=120) == 2, run.log.read_text()
    print(run.log.read_text().splitlines()[-1])
    if forbidden == "data":
        assert "make it writable, or" in run.log.read_text() or "Read-only" in run.log.read_text()
    else:
        one_line(run.log, "Read-only file system; make .* writable, or choose another folder")
    again = warm.start(["train", *text, "seed=1"], run.cwd, run.log)
    assert again.wait(timeout=120) == 2, run.log.read_text()
    print(run.log.read_text().splitlines()[-1])
    disk.allow(folder)
    no_leftovers(run.cwd)
    run.finish()
    assert list(differences(outcome(run), outcome(alone))) == []
