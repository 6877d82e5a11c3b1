"""By hand, a minute on two cores: pytest -s tests/soak/requeued_job.py

A job of submitit's local launcher gets the signal that SLURM sends before a job's time is up: it saves a checkpoint,
joins the queue again, continues, and ends with the result of a run that was left alone.
"""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch

from rope_mt.cli.main import main
from rope_mt.runs import checkpoint
from rope_mt.system.device import processor

from ..training.killed_run import words


def signal_job_in(folder: Path, signum: int) -> None:
    """Wait until the launcher's job in this folder has trained a step, and send it a signal."""
    while not any(file.stat().st_size for file in folder.glob("outputs/files-*/metrics.jsonl")):
        time.sleep(0.01)
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # another process that has just ended
            if bytes(folder) in (command := file.read_bytes()) and b"submitit.core._submit" in command:
                os.kill(int(file.parent.name), signum)


def test_a_job_that_is_requeued_ends_with_the_result_of_one_left_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    moved, straight = (tmp_path / name for name in ("moved", "straight"))
    for folder in (moved, straight):
        folder.mkdir()
    typed = ["train", *words(tmp_path / "text"), "trainer.max_steps=40", f"data.dir={tmp_path / 'data'}"]
    monkeypatch.chdir(moved)
    with ThreadPoolExecutor(1) as other:
        sent = other.submit(signal_job_in, moved, signal.SIGUSR2)
        assert main([*typed, "-m", "hydra/launcher=local"]) == 0
        sent.result()
    [log] = (file.read_text() for file in moved.glob("outputs/.submitit/*/*_log.out"))
    assert "this job is preempted" in log
    assert log.count("continues ") == 1
    assert "Traceback" not in log

    monkeypatch.chdir(straight)
    assert main(typed) == 0  # in this process, without the launcher
    ours, theirs = (next(folder.glob("outputs/files-*")) for folder in (moved, straight))
    weights = [checkpoint.load(run).weights for run in (ours, theirs)]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    results = [json.loads((run / "result.json").read_text()) for run in (ours, theirs)]
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["device"] == f"{processor()}, 1 thread"  # its share of the cores
