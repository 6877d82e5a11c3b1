"""Jobs of a sweep one after the other in several processes: they begin and end each together, or the sweep ends."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import torch.distributed as dist

from rope_mt.errors import UserError
from rope_mt.system.manifest import write_manifest
from rope_mt.training import processes
from rope_mt.training.processes import OtherFailedError, OutOfStepError, Processes
from rope_mt.training.train import build_trainer


def in_two(job: Callable[[Processes], None]) -> list[tuple[Exception | None, bool]]:
    """Run a job in two threads that meet as two processes do; what each raised, and whether the first tells of it."""
    store = dist.HashStore()

    def run(rank: int) -> tuple[Exception | None, bool]:
        mine = Processes(rank, 2, 2, store)
        try:
            job(mine)
        except Exception as error:
            return error, mine.end(error)
        return None, mine.end(None)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(run, range(2)))


@pytest.mark.parametrize("failing", [0, 1])
def test_whoever_waits_for_one_that_has_failed_fails_too(failing):
    def job(mine: Processes) -> None:
        mine.wait()
        if mine.rank == failing:
            raise UserError("no space left")
        mine.wait()

    found = in_two(job)
    why, told = found[failing]
    assert (str(why), told) == ("no space left", False)
    other, told = found[1 - failing]
    assert isinstance(other, OtherFailedError)
    assert told == (failing == 0)


def test_what_all_processes_raise_only_the_first_tells():
    def job(mine: Processes) -> None:
        raise UserError("too few batches")

    assert [(str(error), told) for error, told in in_two(job)] == [("too few batches", rank == 1) for rank in range(2)]


def test_nobody_goes_on_before_all_are_there():
    arrived = []

    def job(mine: Processes) -> None:
        for meeting in range(3):
            arrived.append(meeting)
            mine.wait()
            assert arrived.count(meeting) == 2

    assert in_two(job) == [(None, False)] * 2


def test_a_process_ends_when_its_job_failed_and_the_others_stay_in_it(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    store = dist.HashStore()
    with pytest.raises(OutOfStepError):
        Processes(1, 2, 2, store).end(ZeroDivisionError())
    Processes(0, 2, 2, store).end(None)
    Processes(1, 2, 2, store).end(ZeroDivisionError())


def test_under_slurm_torchrun_tells_the_ranks_and_one_process_stays_alone(config, monkeypatch):
    """As `srun torchrun` on two machines, of which SLURM knows one task each."""
    slurm = {"JOB_NAME": "train", "JOB_ID": "7", "NTASKS": "2", "NNODES": "2", "PROCID": "1", "LOCALID": "0"}
    for name, value in {**slurm, "NODEID": "1", "NODELIST": "node[3-4]"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    trainer = build_trainer(config(), "cpu", "fp32", [], Processes())
    assert (trainer.world_size, trainer.global_rank) == (1, 0)
    ranks = {"RANK": 6, "WORLD_SIZE": 8, "LOCAL_RANK": 2, "LOCAL_WORLD_SIZE": 4, "GROUP_RANK": 1, "MASTER_PORT": 29500}
    for name, value in {**ranks, "MASTER_ADDR": "node3"}.items():
        monkeypatch.setenv(name, str(value))
    trainer = build_trainer(config(), "cpu", "fp32", [], Processes(6, 8, 4, dist.HashStore()))
    assert (trainer.world_size, trainer.global_rank, trainer.local_rank, trainer.node_rank) == (8, 6, 2, 1)
    assert (trainer.num_nodes, trainer.num_devices) == (2, 4)


def test_a_sweep_goes_on_after_a_job_that_fails_in_one_of_two_processes(text, tmp_path):
    """The folder of `none` holds another run, which the first process alone finds out."""
    taken = tmp_path / "runs" / "none"
    taken.mkdir(parents=True)
    write_manifest(taken / "run.json", {"key": "another"})
    words = ["position=rope,none,alibi", "hydra.sweep.dir=runs", "hydra.sweep.subdir=${position.name}"]
    words += [
        f"data.{part}=[{text / name}]" for part, name in (("train", "train"), ("valid", "valid"), ("test", "valid"))
    ]
    words += ["data=files", "data.vocab_size=450", "data.batch_tokens=1000", f"data.dir={text / 'data'}"]
    words += ["model.d_model=32", "model.d_ff=64", "model.n_heads=2", "model.n_layers=1", "tracking=none"]
    words += ["search=greedy", "search.max_len_a=0.2", "search.max_len_b=2"]  # an untrained model finds no end
    words += ["trainer.max_steps=3", "trainer.val_every=3", "trainer.val_sentences=2", "trainer.device=cpu"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.Popen(
        [*torchrun, "-m", "rope_mt", "train", "-m", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = done.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        done.terminate()  # torchrun ends its processes
        done.wait()
        raise
    assert done.returncode == 1
    for name in ("rope", "alibi"):
        assert json.loads((tmp_path / "runs" / name / "result.json").read_text())["processes"] == 2
        assert out.count(f"position  {name}\n") == 1  # the first process prints, once
    assert out.count("test set, 8 sentences") == 1  # the comparison
    assert err.count("holds another run (another)") == 2  # when it fails, and at the end
    assert err.count("rope-mt:") == 2
    # torchrun's session has no process left
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # another process that has just ended
            assert file.read_text().rpartition(")")[2].split()[3] != str(done.pid)
