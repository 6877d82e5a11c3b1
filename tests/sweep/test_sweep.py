"""`rope-mt train -m` with jobs that train nothing: what it says of them, what it leaves, and when it stops."""

import json
import logging
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rope_mt.cli.main import main
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.sweep.ledger import Entry, Ledger
from rope_mt.system.locks import alone
from rope_mt.training.processes import OutOfStepError

Train = Callable[..., float]


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Type `rope-mt train ...`, in an empty folder, where `job` stands in for the training of one model."""
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(line: str, job: Callable[[Any], None]) -> tuple[int, str, str]:
        def train(cfg: Any, folder: Path | None, opened: Callable[[RunFolder], None]) -> float:
            run = RunFolder(folder or Path("outputs", f"{cfg.position.name}-{cfg.seed}").absolute())
            run.path.mkdir(parents=True, exist_ok=True)
            opened(run)
            job(cfg)
            result = {"steps": 7, "valid": {"loss": 2.5}, "test": {"bleu": 20.0 + cfg.seed}, "further_tests": {}}
            write_result(run, result)
            return 1.0

        fake = types.ModuleType("rope_mt.training.train")
        vars(fake).update(train=train)
        monkeypatch.setitem(sys.modules, "rope_mt.training.train", fake)
        capsys.readouterr()
        code = main(["train", *line.split()])
        return code, *capsys.readouterr()

    yield run
    root.handlers[:], root.level = handlers, level
    GlobalHydra.instance().clear()


@pytest.fixture(autouse=True)
def compared(monkeypatch) -> list[list[Path]]:
    """The folders that the sweep wants compared, in place of a comparison."""
    from rope_mt.study.compare import compare

    seen: list[list[Path]] = []

    def instead(folders: list[Path]) -> None:
        seen.append(folders)
        raise UserError("they differ in test set")

    monkeypatch.setattr(compare, "compared", instead)
    return seen


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


def test_a_failing_job_is_told_of_at_once_and_again_at_the_end_and_leaves_the_others_alone(sweep, compared):
    code, out, err = sweep("-m seed=1,2,3,4,5", fails)
    assert code == 1
    assert states() == ["done", "failed", "failed", "failed", "done"]
    assert compared == [[Path("outputs", f"rope-{seed}").absolute() for seed in (1, 5)]]
    assert err.count("rope-mt: seed=2: out of memory: make data.batch_tokens smaller\n") == 1
    assert err.count("rope-mt: seed=2: failed: out of memory: make data.batch_tokens smaller\n") == 1
    assert err.index("seed=2: out") < err.index("ZeroDivisionError") < err.index("seed=2: failed")
    assert err.count("\nZeroDivisionError") == 1  # its traceback
    assert "no comparison: they differ in test set\n" in err
    assert "Error executing job" not in err + out
    assert "job 1 of 5, seed=1: done, BLEU 21.00, in " in out


def test_a_first_process_that_cannot_begin_a_job_ends_as_the_others_are_in_it(sweep, monkeypatch):
    """If it went on, its next job would train with what the others make of this one."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    began, honest = [], Ledger.write

    def write(self: Ledger, entry: Entry) -> None:
        if (entry.number, entry.state) == (0, "running"):
            raise UserError("no space left")
        honest(self, entry)

    monkeypatch.setattr(Ledger, "write", write)
    with pytest.raises(OutOfStepError, match=r"^job 1 could not begin: no space left"):
        sweep("-m seed=1,2", began.append)
    assert not began


def test_with_fail_fast_no_job_begins_after_one_that_failed(sweep, compared):
    began = []

    def job(cfg: Any) -> None:
        began.append(cfg.seed)
        fails(cfg)

    code, _, err = sweep("-m seed=1,2,5,6 sweep.fail_fast=true", job)
    assert (code, began) == (1, [1, 2])
    assert states() == ["done", "failed", "left out", "left out"]
    assert "rope-mt: seed=6: left out\n" in err


def test_the_same_command_again_goes_on_in_the_same_folder(sweep):
    line = "-m position=rope,none seed=1,2"
    assert sweep(line, fails)[0] == 1
    first = record()
    code, out, err = sweep(line, nothing)
    assert code == 0
    assert "rope-mt:" not in err.replace("rope-mt: no comparison", "")
    assert out.count("found done, BLEU 21.00\n") == 2
    assert states() == ["done"] * 4
    assert [job["found"] for job in record()["jobs"]] == [True, False] * 2
    assert (record()["name"], record()["command"]) == (first["name"], f"rope-mt train {line}")


def test_an_interrupt_ends_the_sweep(sweep):
    def job(cfg: Any) -> None:
        if cfg.seed == 2:
            raise KeyboardInterrupt

    assert sweep("-m seed=1,2,3", job)[0] == 130
    [folder] = Path("outputs/sweeps").iterdir()
    jobs = [json.loads(file.read_text())["state"] for file in sorted((folder / "jobs").iterdir())]
    assert jobs == ["done", "stopped", "waiting"]


def test_every_job_is_told_the_sweep_as_its_group_but_where_the_user_gave_one(sweep):
    groups = []
    sweep("-m seed=1,2", lambda cfg: groups.append(cfg.tracking.group))
    assert groups == [record()["name"]] * 2
    sweep("-m seed=1,2 tracking.group=mine", lambda cfg: groups.append(cfg.tracking.group))
    assert groups[2:] == ["mine"] * 2


def test_the_record_is_also_markdown(sweep):
    sweep("-m seed=1,2", fails)
    [folder] = Path("outputs/sweeps").iterdir()
    text = (folder / "sweep.md").read_text()
    assert text.startswith(f"# {folder.name}\n\n`rope-mt train -m seed=1,2`\n")
    assert "| seed=2 | failed out of memory: make data.batch_tokens smaller |" in text


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
    line = "-m seed=1,2 hydra.sweep.dir=outputs hydra.sweep.subdir=rope-1 overwrite=true"
    code, _, err = sweep(line, nothing)
    assert code == 1
    assert states() == ["done", "failed"]
    assert "rope-mt: seed=2: seed=1 is in " in err
    assert "make the jobs' folders differ\n" in err


def test_a_sweep_that_runs_is_not_disturbed_by_the_same_command(sweep):
    line = "-m seed=1,2 sweep.name=twice"
    sweep(line, nothing)
    before = states()
    with alone(Path("outputs/sweeps/twice/.lock"), "at the sweep"):
        code, _, err = sweep(line, fails)
    assert code == 2
    assert re.fullmatch(r"rope-mt: another rope-mt \(.*\) is at the sweep .*/twice: wait until .*\n", err)
    assert states() == before


def test_what_an_earlier_attempt_found_does_not_stay_beside_a_new_record(sweep):
    sweep("-m seed=1,2 sweep.name=twice", nothing)
    stale = Path("outputs/sweeps/twice/sweep.html")
    stale.write_text("of the first")
    sweep("-m seed=1,2 sweep.name=twice", fails)
    assert not stale.exists()
