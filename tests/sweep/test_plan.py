"""A command line with -m is understood before its first job begins: which jobs, and what the sweep is called."""

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from rope_mt.cli.plan import Plan, planned
from rope_mt.cli.words import split_flags
from rope_mt.config.choices import command_schema


def plan(line: str) -> Plan:
    flags, words = split_flags(line.split(), "train")
    try:
        return planned("train", flags, words, command_schema("train"))
    finally:
        GlobalHydra.instance().clear()


def test_the_jobs_are_the_choices_of_all_words_and_are_told_apart_by_what_differs():
    sweep = plan("-m position=rope,none seed=5,7 model=small")
    assert sweep.job_names == [f"position={name} seed={seed}" for name in ("rope", "none") for seed in (5, 7)]
    assert [f"position={cfg.position.name} seed={cfg.seed}" for cfg in sweep.configs] == sweep.job_names
    assert {cfg.model.name for cfg in sweep.configs} == {"small"}
    assert (sweep.several, sweep.drawn, sweep.sweep_dir) == (True, False, "outputs")


@pytest.mark.parametrize(("word", "seeds"), [("", (1, 2, 3)), (" seed=4,9", (4, 9)), (" ++seed=5", (5,))])
def test_the_choices_of_an_experiment_are_jobs_too_and_the_command_line_replaces_them(word, seeds):
    sweep = plan(f"experiment=schemes{word}")
    assert sweep.several
    jobs = [(cfg.position.name, cfg.seed) for cfg in sweep.configs]
    assert jobs == [(name, seed) for name in ("sinusoidal-add", "relative", "rope") for seed in seeds]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("-m seed=1,1", ["job 1", "job 2"]),
        ("-m position=none seed=3", ["position=none seed=3"]),
        ("experiment=schemes position=none seed=3", ["experiment=schemes position=none seed=3"]),
        ("experiment=schemes ++seed=5", ["position=sinusoidal-add", "position=relative", "position=rope"]),
    ],
)
def test_equal_jobs_are_numbered_one_job_has_all_its_words_and_several_have_those_that_differ(line, names):
    assert plan(line).job_names == names


@pytest.mark.parametrize("line", ["seed=2", "-m seed=2,3 --help"])
def test_what_trains_one_model_or_none_is_no_sweep(line):
    assert not plan(line).several


@pytest.mark.parametrize(
    "line",
    [
        "-m position=none,rope seed=2,1",
        "-m seed=1,2 position=rope,none",
        "-m position=rope,none seed=1,2 tracking=none trainer.log_every=7 sweep.fail_fast=true overwrite=true",
    ],
)
def test_the_same_jobs_are_the_same_sweep(line):
    same, other = (plan(f"-m position=rope,none seed={seeds}").sweep_name[-8:] for seeds in ("1,2", "1,3"))
    assert plan(line).sweep_name[-8:] == same != other


@pytest.mark.parametrize("word", ["trainer.epochs=", "trainer.devices=", "data.held_out="])
def test_what_runs_are_told_apart_by_tells_sweeps_apart_too(word):
    one, two = (plan(f"-m seed=1,2 {word}{n}").sweep_name for n in (1, 2))
    assert one != two


@pytest.mark.parametrize(
    ("line", "folders"),
    [
        ("seed=2", [None]),
        ("++hydra.run.dir=runs/${position.name}-${seed}", ["runs/rope-1"]),
        ("-m seed=1,2 hydra.sweep.dir=s hydra.sweep.subdir=${hydra.job.num}", ["s/0", "s/1"]),
    ],
)
def test_the_folders_of_runs_are_known_beforehand(line, folders):
    assert plan(line).folders == [folder and Path(folder) for folder in folders]


def test_a_sweep_is_named_after_what_its_jobs_share_and_what_differs():
    assert plan("-m position=rope,none seed=1,2").sweep_name.startswith("toy-tiny-position-seed-")
    assert plan("-m data=toy,multi30k model.norm=pre").sweep_name.startswith("tiny-rope-data-")
    assert plan("-m seed=1,2 sweep.name=for-paper").sweep_name == "for-paper"
    dotted = plan("-m data.context_tokens=20,30 data.name=own,other").sweep_name
    assert dotted.startswith("tiny-rope-data.context_tokens-data.name-")


def test_what_a_sweeper_draws_is_not_known_beforehand():
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    sweep = plan("-m hydra/sweeper=optuna_bleu optimizer.lr=interval(1e-4,1e-2)")
    assert sweep.drawn
    assert sweep.sweep_name != plan("-m hydra/sweeper=optuna_bleu optimizer.lr=interval(1e-4,1e-3)").sweep_name
