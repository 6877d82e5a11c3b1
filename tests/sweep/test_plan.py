"""A command line with -m is understood before its first job begins: which jobs, and what the sweep is called."""

import pytest
from hydra.core.global_hydra import GlobalHydra

from rope_mt.cli.plan import Plan, planned
from rope_mt.cli.words import split_flags
from rope_mt.config.choices import command_schema
from rope_mt.errors import UserError


def plan(line: str) -> Plan:
    flags, words = split_flags(line.split())
    try:
        return planned("train", flags, words, command_schema("train"))
    finally:
        GlobalHydra.instance().clear()


def test_the_jobs_are_the_choices_of_all_words_and_are_told_apart_by_what_differs():
    found = plan("-m position=rope,none seed=5,7 model=small")
    assert found.job_names == [f"position={name} seed={seed}" for name in ("rope", "none") for seed in (5, 7)]
    assert [(job.cfg.position.name, job.cfg.seed) for job in found.jobs] == [
        (name, seed) for name in ("rope", "none") for seed in (5, 7)
    ]
    assert {job.cfg.model.name for job in found.jobs} == {"small"}
    assert (found.runs_several, found.known, found.sweep_dir) == (True, True, "outputs")


def test_the_choices_of_an_experiment_are_jobs_too_and_the_command_line_replaces_them():
    found = plan("experiment=schemes seed=4,9")
    assert found.runs_several
    assert [(job.cfg.position.name, job.cfg.seed) for job in found.jobs] == [
        (name, seed) for name in ("sinusoidal-add", "relative", "rope") for seed in (4, 9)
    ]
    assert len(plan("experiment=schemes").jobs) == 9


def test_a_setting_that_is_forced_replaces_the_experiments_choices_too():
    found = plan("experiment=schemes ++seed=5")
    assert found.job_names == ["position=sinusoidal-add", "position=relative", "position=rope"]
    assert {job.cfg.seed for job in found.jobs} == {5}


def test_a_choice_given_twice_is_two_jobs_with_a_name():
    assert plan("-m seed=1,1").job_names == ["job 1", "job 2"]


def test_jobs_are_not_shuffled():
    with pytest.raises(UserError, match=r"^seed=shuffle\(1,2\): jobs are not shuffled here"):
        plan("-m seed=shuffle(1,2)")


def test_one_job_alone_is_named_by_all_its_words():
    assert plan("-m position=none seed=3").job_names == ["position=none seed=3"]


@pytest.mark.parametrize("line", ["seed=2", "-m seed=2,3 --help"])
def test_what_trains_one_model_or_none_is_no_sweep(line):
    assert not plan(line).runs_several


@pytest.mark.parametrize(
    "line",
    [
        "-m position=none,rope seed=2,1",
        "-m seed=1,2 position=rope,none",
        "-m position=rope,none seed=1,2 tracking=none trainer.log_every=7 sweep.fail_fast=true overwrite=true",
    ],
)
def test_the_same_jobs_are_the_same_sweep(line):
    def digest(line: str) -> str:
        return plan(line).sweep_name.rpartition("-")[2]

    assert digest(line) == digest("-m position=rope,none seed=1,2")
    assert digest(line) != digest("-m position=rope,none seed=1,3")


def test_a_sweep_is_named_after_what_its_jobs_share_and_what_differs():
    assert plan("-m position=rope,none seed=1,2").sweep_name.startswith("toy-tiny-position-seed-")
    assert plan("-m data=toy,multi30k model.norm=pre").sweep_name.startswith("tiny-rope-data-")
    assert plan("-m seed=1,2 sweep.name=for-paper").sweep_name == "for-paper"
    two = "-m data.context_tokens=20,30 data.name=own,other"
    assert plan(two).sweep_name.startswith("tiny-rope-data.context_tokens-data.name-")


def test_what_a_sweeper_draws_is_not_known_beforehand():
    found = plan("-m optimizer.lr=interval(1e-4,1e-2)")
    assert not found.known
    assert found.sweep_name != plan("-m optimizer.lr=interval(1e-4,1e-3)").sweep_name
