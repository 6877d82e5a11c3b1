"""Jobs of a launcher, and the search for settings. More: tests/soak/requeued_job.py."""

import math
import pickle
import signal
import sys
from functools import partial

import pytest
from omegaconf import OmegaConf

from rope_mt.cli.hydra import call_hydra, do_job
from rope_mt.cli.jobs import Jobs
from rope_mt.cli.main import main
from rope_mt.config.choices import command_schema
from rope_mt.errors import Interrupted, UserError
from rope_mt.sweep.ledger import Ledger

from .conftest import shell


def interrupted(cfg) -> None:
    raise Interrupted(signal.SIGUSR2)


def test_a_job_that_is_interrupted_hands_the_signal_to_its_launcher(here):
    """Its handler requeues the job, and ends the process."""
    signals = []

    def requeue(signum, frame):
        signals.append(signum)
        sys.exit(17)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        command_schema("train")
        in_the_launcher = pickle.loads(pickle.dumps(Jobs(interrupted)))
        assert call_hydra("train", {}, [], in_the_launcher) == 17
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert signals == [signal.SIGUSR2]


def test_a_job_of_a_launcher_sets_its_threads_before_torch_is_imported(tmp_path):
    (tmp_path / "jobs").write_bytes(pickle.dumps(Jobs(partial(do_job, "train"), Ledger(tmp_path), ["seed=1"])))
    code = "import pickle, sys; pickle.load(open('jobs', 'rb')); print('torch' in sys.modules)"
    assert shell("-c", code, cwd=tmp_path).stdout == "False\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Optuna 2, when it is imported
def test_the_search_for_settings_finds_the_highest_score_past_failures_and_repeats_itself(here):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    rates: list[float] = []

    def distance(rate: float) -> float:
        return abs(math.log(rate / 1e-3))

    def score(cfg) -> float:
        rates.append(cfg.optimizer.lr)
        if cfg.optimizer.lr < 2e-4:
            raise UserError("no space left")
        return 10 - distance(cfg.optimizer.lr)

    command_schema("train")
    words = ["hydra/sweeper=optuna_bleu", "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "hydra.sweeper.n_trials=4"]
    for _ in range(2):
        call_hydra("train", {"--multirun": True}, words, Jobs(score))
    assert rates[:4] == rates[4:]
    assert min(rates) < 2e-4
    results = OmegaConf.load(here / "outputs" / "optimization_results.yaml")
    assert results.best_params["optimizer.lr"] == min(rates, key=distance)


def test_a_plugin_that_is_not_installed_is_told_with_its_extra(tmp_path):
    code = "import sys; sys.modules['hydra_plugins'] = None; from rope_mt.cli.main import main\n"
    code += "print([main(['train', '-m', word]) for word in sys.argv[1:]])"
    done = shell("-c", code, "hydra/launcher=submitit_slurm", "hydra/sweeper=optuna", cwd=tmp_path)
    assert done.stdout == "[2, 2]\n"
    for line, extra in zip(done.stderr.splitlines(), ("slurm", "optuna"), strict=True):
        assert line.startswith("rope-mt: hydra/")
        assert line.endswith(f" is not installed: pip install 'rope-mt[{extra}]'")


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
    settings = OmegaConf.create(capsys.readouterr().out).hydra[part]
    assert {name: settings[name] for name in of_ours} == of_ours
    assert main(["train", word]) == 2
    assert capsys.readouterr().err == f"rope-mt: hydra/{part} is for several runs: add -m\n"
