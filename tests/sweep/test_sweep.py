"""`rope-mt train -m` with jobs that train nothing: what it prints and writes, and when it stops."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.sweep.ledger import Ledger
from rope_mt.system.locks import alone

from ..conftest import Output


@pytest.fixture
def folders() -> list[Path | None]:
    """The folder that each job is given; None if the run is to name it."""
    return []


@pytest.fixture
def sweep(rope_mt, stand_in, folders) -> Callable[..., Output]:
    """Type `rope-mt train ...`, where `job` stands in for the training of one model."""

    def run(line: str, job: Callable[[Any], None]) -> Output:
        def train(cfg: Any, folder: Path | None, command: str, opened: Callable[[RunFolder, int], None]) -> float:
            folders.append(folder)
            run = RunFolder(folder or Path("outputs", f"{cfg.position.name}-{cfg.seed}").absolute())
            run.path.mkdir(parents=True, exist_ok=True)
            opened(run, cfg.trainer.max_steps)
            job(cfg)
            result = {"steps": 7, "valid": {"loss": 2.5}, "test": {"bleu": 20.0 + cfg.seed}, "further_tests": {}}
            write_result(run, result)
            return 1.0

        stand_in("rope_mt.training.train", train=train)
        return rope_mt("train", *line.split())

    return run


@pytest.fixture(autouse=True)
def compared(monkeypatch) -> list[list[Path]]:
    """The folders that the sweep compares; in place of a comparison it gets an error."""
    from rope_mt.study.compare import compare

    calls: list[list[Path]] = []

    def refuse(folders: list[Path]) -> None:
        calls.append(folders)
        raise UserError("they differ in test set")

    monkeypatch.setattr(compare, "compared", refuse)
    return calls


def record() -> dict[str, Any]:
    [folder] = Path("outputs/sweeps").iterdir()
    return json.loads((folder / "sweep.json").read_text())


def states() -> list[str]:
    return [job["state"] for job in record()["jobs"]]


def nothing(cfg: Any) -> None:
    pass


def fails(cfg: Any) -> None:
    if cfg.seed == 2:
        raise UserError("out of memory: make data.batch_tokens smaller")
    if cfg.seed == 3:
        raise ZeroDivisionError
    if cfg.seed == 4:
        raise SystemExit(1)


def test_a_failing_job_is_told_of_at_once_and_at_the_end_and_leaves_the_others_alone(sweep, compared):
    groups = []

    def job(cfg: Any) -> None:
        groups.append(cfg.tracking.group)
        fails(cfg)

    code, out, err = sweep("-m seed=1,2,3,4", job)
    assert code == 1
    assert states() == ["done", "failed", "failed", "failed"]
    assert compared == [[Path("outputs", "rope-1").absolute()]]
    assert err.count("rope-mt: seed=2: out of memory: make data.batch_tokens smaller\n") == 1
    assert err.count("rope-mt: seed=2: failed: out of memory: make data.batch_tokens smaller\n") == 1
    assert err.index("seed=2: out") < err.index("ZeroDivisionError") < err.index("seed=2: failed")
    assert err.count("\nZeroDivisionError") == 1  # its traceback
    assert "no comparison: they differ in test set\n" in err
    assert "Error executing job" not in err + out
    assert "job 1 of 4, seed=1: done, BLEU 21.00, in " in out
    assert groups == [record()["name"]] * 4
    markdown = Path("outputs/sweeps", record()["name"], "sweep.md").read_text()
    assert markdown.startswith(f"# {record()['name']}\n\n`rope-mt train -m seed=1,2,3,4`\n")
    assert "| seed=2 | failed out of memory: make data.batch_tokens smaller |" in markdown


def test_with_fail_fast_no_job_begins_after_one_that_failed_and_a_group_of_the_user_stays(sweep):
    began = []

    def job(cfg: Any) -> None:
        began.append((cfg.seed, cfg.tracking.group))
        fails(cfg)

    code, _, err = sweep("-m seed=1,2,5 sweep.fail_fast=true tracking.group=mine", job)
    assert (code, began) == (1, [(1, "mine"), (2, "mine")])
    assert states() == ["done", "failed", "left out"]
    assert "rope-mt: seed=5: left out\n" in err


def test_the_same_command_again_goes_on_in_the_same_folder_and_replaces_the_record(sweep):
    line = "-m position=rope,none seed=1,2"
    assert sweep(line, fails)[0] == 1
    first = record()
    report = Path("outputs/sweeps", first["name"], "sweep.html")
    report.write_text("of the first attempt")
    code, out, err = sweep(line, nothing)
    assert code == 0
    assert "rope-mt:" not in err.replace("rope-mt: no comparison", "")
    assert out.count("found done, BLEU 21.00\n") == 2
    assert states() == ["done"] * 4
    assert [job["found"] for job in record()["jobs"]] == [True, False] * 2
    assert (record()["name"], record()["command"]) == (first["name"], f"rope-mt train {line}")
    assert not report.exists()
    with alone(report.with_name(".lock"), "at the sweep"):
        code, _, err = sweep(line, fails)
    assert code == 2
    assert re.fullmatch(r"rope-mt: another rope-mt \(.*\) is at the sweep .*/.*: wait until .*\n", err)
    assert states() == ["done"] * 4


def test_an_interrupt_ends_the_sweep(sweep):
    def job(cfg: Any) -> None:
        if cfg.seed == 2:
            raise KeyboardInterrupt

    assert sweep("-m seed=1,2,3", job)[0] == 130
    [folder] = Path("outputs/sweeps").iterdir()
    assert [entry.state for entry in Ledger(folder).entries()] == ["done", "stopped", "waiting"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Optuna 2, when it is imported
def test_a_job_that_the_sweeper_made_up_is_named_after_what_it_chose(sweep):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    line = "-m hydra/sweeper=optuna seed=range(1,9) hydra.sweeper.n_trials=2 position=none"
    code, out, err = sweep(line, nothing)
    assert code == 0, err
    names = [job["name"] for job in record()["jobs"]]
    assert len(names) == 2
    assert all(name.startswith("seed=") and " " not in name for name in names)
    assert f"job 2, {names[1]}: done" in out


def test_a_sweeper_that_breaks_is_no_success(sweep):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    line = "-m hydra/sweeper=optuna seed=range(1,9) hydra.sweeper.storage=sqlite:////nowhere/at/all.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna 2, when it is imported
        code, _, err = sweep(line, nothing)
    assert code == 1
    assert err.startswith("rope-mt: OperationalError: ")
    assert err.count("\n") == 1


def test_two_jobs_in_one_folder_are_refused_before_the_second_undoes_the_first(sweep):
    code, _, err = sweep("-m seed=1,2 hydra.sweep.dir=outputs hydra.sweep.subdir=rope-1 overwrite=true", nothing)
    assert code == 1
    assert states() == ["done", "failed"]
    assert "rope-mt: seed=2: seed=1 is in " in err
    assert "make the jobs' folders differ\n" in err


@pytest.mark.parametrize(
    ("line", "chosen"),
    [
        ("", [None]),
        ("-m seed=1,2", [None, None]),
        ("hydra.run.dir=there/${position.name}", ["there/rope"]),
        ("-m seed=1,2 hydra.sweep.dir=s hydra.sweep.subdir=${hydra.job.num}", ["s/0", "s/1"]),
    ],
)
def test_the_folder_of_a_run_is_hydras_only_where_the_user_chose_it(sweep, folders, line, chosen):
    assert sweep(line, nothing).code == 0
    assert folders == [folder and Path.cwd() / folder for folder in chosen]
