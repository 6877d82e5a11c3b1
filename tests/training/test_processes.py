"""Two training processes of one run: they make the updates of one, and a killed one changes nothing in the end."""

import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.multiprocessing.errors.error_handler import ErrorHandler

from rope_mt.cli.main import main
from rope_mt.config.training import TrainerConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.system.locks import held
from rope_mt.training import fit as module
from rope_mt.training.fit import end_with_launcher, fit
from rope_mt.training.processes import Processes, failure_of, launch, processes_of

from ..small import rows

STEPS = 6
# torch's launcher leaves the logs of a killed process open
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture
def words(small_run, here, monkeypatch) -> list[str]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    changed = [f"trainer.max_steps={STEPS}", "trainer.val_every=2", "trainer.precision=fp32", "trainer.ema=0.8"]
    return ["train", *small_run, *changed, "positions=random"]


def kill_a_process_in_step(folder: Path, step: int) -> threading.Thread:
    """Kill the second training process when the run has logged this step."""

    def wait_and_kill() -> None:
        metrics = folder / "metrics.jsonl"
        while not metrics.is_file() or f'"step": {step},' not in metrics.read_text():
            time.sleep(0.01)
        for process in Path("/proc").glob("[0-9]*"):
            environment = process / "environ"
            try:
                is_second = b"\0RANK=1\0" in environment.read_bytes()
                if is_second and b"rope_mt.training.fit" in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:  # a process that has just ended, or another user's
                continue

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


def test_a_killed_process_fails_its_job_alone_and_the_resumed_run_is_that_of_one_process(words, tmp_path, capfd):
    """To rounding; to the bit, and killed at any moment: tests/soak/killed_anywhere.py."""
    sweep = [*words, "-m", "trainer.devices=2,1", "hydra.sweep.dir=runs", "hydra.sweep.subdir=${trainer.devices}"]
    two = tmp_path / "runs" / "2"
    killer = kill_a_process_in_step(two, 4)
    assert main(sweep) == 1
    killer.join(timeout=1)
    gc.collect()
    errors = capfd.readouterr().err
    [line] = [line for line in errors.splitlines() if line.startswith("rope-mt: trainer.devices=2: training process")]
    assert f"training process 1 of 2 has failed (killed by SIGKILL): its log is {two}/logs/" in line
    assert Path(line.rpartition("its log is ")[2]).is_file()
    assert "Traceback" not in errors
    assert not (two / "result.json").exists()
    assert (tmp_path / "runs" / "1" / "result.json").is_file()

    assert main(sweep) == 0
    assert json.loads((two / "result.json").read_text())["processes"] == 2
    assert main([*words, "trainer.accumulate=2", "hydra.run.dir=one"]) == 0
    one = tmp_path / "one"
    for ours, theirs in zip(rows(RunFolder(two)), rows(RunFolder(one)), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() & {"step", "tokens", "train/loss", "train/gradient_norm", "valid/loss"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
    resumed, expected = (checkpoint.load(folder).weights for folder in (two, one))
    for name in expected:
        torch.testing.assert_close(resumed[name], expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([-signal.SIGTERM, -signal.SIGKILL], "training process 1 of 2 has failed (killed by SIGKILL): its log is"),
        ([RuntimeError("lost"), -signal.SIGSEGV], "training process 1 of 2 has failed (killed by SIGSEGV): its log is"),
        ([-signal.SIGTERM, RuntimeError("bug")], "training process 1 of 2 has failed (exit code 1): its log is"),
        ([RuntimeError("lost"), UserError("lower batch_tokens")], "lower batch_tokens"),
    ],
)
def test_of_several_failed_processes_the_one_that_failed_first_is_named(ends, said, tmp_path, monkeypatch):
    failures = {}
    for rank, end in enumerate(ends):
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / f"{rank}.json"))
        if isinstance(end, Exception):
            ErrorHandler().record_exception(end)
        code = 1 if isinstance(end, Exception) else end
        failures[rank] = ProcessFailure(rank, 1000 + rank, code, str(tmp_path / f"{rank}.json"))
    assert str(failure_of(RunFolder(tmp_path), 2, failures)).startswith(said)


def test_a_process_ends_where_its_launcher_was_killed_before_it_could_look(monkeypatch):
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("rope_mt.training.fit.os._exit", leave)
    with pytest.raises(SystemExit, match="1"):
        end_with_launcher(os.getpid())  # a process that is not the parent of this one


def test_on_several_machines_the_command_writes_the_folder_and_says_what_to_type(words, tmp_path, capsys):
    """Trained by two launchers: tests/soak/two_machines.py."""
    assert main([*words, "trainer.machines=2", "hydra.run.dir=run"]) == 0
    printed = capsys.readouterr().out
    assert "torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint HOST:29400" in printed
    assert f"-m rope_mt.training.fit {tmp_path}/run" in printed
    assert not (tmp_path / "run" / "result.json").exists()
    with pytest.raises(UserError, match="is for 2 training processes, and 1 were started"):
        fit(Path("run"))


@pytest.mark.parametrize("by_us", [True, False])
def test_the_first_process_of_torchrun_locks_the_run_which_our_command_does_otherwise(tmp_path, monkeypatch, by_us):
    locked = []
    monkeypatch.setattr(module, "fit", lambda path: locked.append(held(RunFolder(path).lock)))
    monkeypatch.setattr(module, "end_with_launcher", lambda launcher: None)
    monkeypatch.setattr(sys, "argv", ["fit", str(tmp_path), *["1"] * by_us])
    module.main()
    assert locked == [not by_us]
    assert not held(RunFolder(tmp_path).lock)


def test_the_cores_are_divided_anew_for_each_job_of_a_sweep(tmp_path, monkeypatch):
    threads = []
    monkeypatch.setattr("rope_mt.training.processes.cores", lambda: 8)
    monkeypatch.setattr(
        "torch.distributed.launcher.api.elastic_launch",
        lambda *_: lambda *_: threads.append(os.environ["OMP_NUM_THREADS"]),
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for n in (4, 2):
        launch(RunFolder(tmp_path), n)
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    launch(RunFolder(tmp_path), 2)
    assert threads == ["2", "4", "3"]
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_a_command_inside_of_torchrun_is_refused(words, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert main(words) == 2
    message = "rope-mt: rope-mt starts its own training processes: type it without torchrun, with trainer.devices=N\n"
    assert capsys.readouterr().err == message


def test_the_number_of_processes_is_that_of_the_gpus_unless_it_is_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    settings = {"max_steps": 1, "val_every": 1, "val_sentences": 1}
    assert processes_of(TrainerConfig(**settings)) == 3
    assert processes_of(TrainerConfig(**settings, device="cpu")) == 1
    assert processes_of(TrainerConfig(**settings, devices=2, machines=2)) == 4
    with pytest.raises(UserError, match=r"trainer\.devices=4, and this machine has 3 GPUs"):
        processes_of(TrainerConfig(**settings, devices=4))


def test_a_process_knows_its_place_from_the_launcher_alone(monkeypatch):
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert Processes.of_environment() == Processes()  # left over by something else
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "train")
    assert Processes.of_environment() == Processes(1, 2, 2)
