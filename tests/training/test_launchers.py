"""What plugins of Hydra do for a sweep: jobs that a cluster may stop at any time, and the search for settings."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from rope_mt.cli.hydra import call_hydra, do_job
from rope_mt.cli.jobs import Jobs
from rope_mt.cli.main import main
from rope_mt.config.choices import command_schema
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.system.device import processor


def signal_job_in(folder: Path, signum: int) -> None:
    """Wait until the launcher's job in this folder has trained a step, and send it a signal."""
    while not any(file.stat().st_size for file in folder.glob("outputs/files-*/metrics.jsonl")):
        time.sleep(0.01)
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # another process that has just ended
            if bytes(folder) in (words := file.read_bytes()) and b"submitit.core._submit" in words:
                os.kill(int(file.parent.name), signum)


def test_a_job_that_a_launcher_is_told_to_move_goes_on_to_the_same_result(small_run, tmp_path, monkeypatch):
    """As under SLURM: the signal, a checkpoint, the queue again, and the rest of the run."""
    pytest.importorskip("submitit")
    monkeypatch.delenv("OMP_NUM_THREADS")
    command_schema("train")
    run = partial(call_hydra, "train", words=[*small_run, "hydra/launcher=local"], task=Jobs(partial(do_job, "train")))
    moved, straight = tmp_path / "moved", tmp_path / "straight"
    for folder in (moved, straight):
        folder.mkdir()
    monkeypatch.chdir(moved)
    with ThreadPoolExecutor(1) as other:
        sent = other.submit(signal_job_in, moved, signal.SIGUSR2)
        assert run(flags={"--multirun": True}) == 0
        sent.result()
    [said] = (file.read_text() for file in moved.glob("outputs/.submitit/*/*_log.out"))
    assert "this job is preempted" in said
    assert said.count("continues ") == 1
    assert "Traceback" not in said

    monkeypatch.chdir(straight)
    run(flags={})  # in this process, without the launcher
    ours, theirs = (next(folder.glob("outputs/files-*")) for folder in (moved, straight))
    weights = [checkpoint.read(run / "checkpoints" / "average.ckpt")["state_dict"] for run in (ours, theirs)]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    results = [json.loads((run / "result.json").read_text()) for run in (ours, theirs)]
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["device"] == f"{processor()}, 1 thread"  # its share of the cores


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Optuna 2, when it is imported
def test_the_search_for_settings_finds_the_highest_score_past_failures_and_repeats_itself(tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    monkeypatch.chdir(tmp_path)
    rates: list[float] = []

    def score(cfg) -> float:
        rates.append(cfg.optimizer.lr)
        if cfg.optimizer.lr < 2e-4:
            raise UserError("no space left")
        return 10 - off(cfg.optimizer.lr)

    def off(rate: float) -> float:
        return abs(math.log(rate / 1e-3))

    command_schema("train")
    words = ["hydra/sweeper=optuna_bleu", "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "hydra.sweeper.n_trials=4"]
    for _ in range(2):
        call_hydra("train", {"--multirun": True}, words, Jobs(score))
    assert rates[:4] == rates[4:]
    assert min(rates) < 2e-4
    found = OmegaConf.load(tmp_path / "outputs" / "optimization_results.yaml")
    assert found.best_params["optimizer.lr"] == min(rates, key=off)


@pytest.mark.parametrize(
    ("word", "extra"), [("hydra/launcher=submitit_slurm", "slurm"), ("hydra/sweeper=optuna", "optuna")]
)
def test_what_is_not_installed_is_said_with_its_extra(word, extra, tmp_path):
    without = "import sys; sys.modules['hydra_plugins'] = None; from rope_mt.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", without, "train", "-m", word], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("rope-mt: hydra/")
    assert done.stderr.endswith(f" is not installed: pip install 'rope-mt[{extra}]'\n")


@pytest.mark.parametrize(
    ("word", "of_ours"),
    [
        ("hydra/launcher=submitit_slurm", {"max_num_timeout": 100, "gpus_per_node": 1}),
        ("hydra/launcher=submitit_local", {"cpus_per_task": 1, "name": "rope-mt"}),
        ("hydra/sweeper=optuna", {"direction": "maximize", "n_trials": 20}),
    ],
)
def test_the_name_of_a_plugin_means_our_settings_of_it_and_asks_for_several_runs(word, of_ours, capsys):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    assert main(["train", word, "--cfg", "hydra"]) == 0
    part = word.removeprefix("hydra/").partition("=")[0]
    found = OmegaConf.create(capsys.readouterr().out).hydra[part]
    assert {name: found[name] for name in of_ours} == of_ours
    assert main(["train", word]) == 2
    assert capsys.readouterr().err == f"rope-mt: hydra/{part} is for several runs: add -m\n"
