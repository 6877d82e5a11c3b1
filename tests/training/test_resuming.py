"""A full checkpoint that is not what this run would have saved is refused in a line before anything of it is taken."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.tracking import Tracker
from rope_mt.training.callbacks.report import Report, metrics_upto
from rope_mt.training.train import train


@pytest.fixture(scope="module")
def cfg(config):
    return config(max_steps=2, val_every=2, val_sentences=1, ema=0.5, precision="fp32")


@pytest.fixture(scope="module")
def begun(cfg, tmp_path_factory) -> tuple[RunFolder, bytes]:
    """A run that has all but its result; and its full checkpoint as it was."""
    run = RunFolder(tmp_path_factory.mktemp("begun") / "run")
    train(cfg, run.path)
    run.result.unlink()
    return run, pickle.dumps(checkpoint.read(full(run)))


def full(run: RunFolder) -> Path:
    return run.checkpoints / "step-0000002.ckpt"


def adam(values: dict[str, Any]) -> dict[str, Any]:
    return values["optimizer_states"][0]


def of(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return next(state for key, state in values["callbacks"].items() if key.startswith(name))


def loader(values: dict[str, Any]) -> dict[str, Any]:
    return values["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("optimizer_states"), "is no full checkpoint, as it has no optimizer_states"),
        (lambda v: v.update(more=1), "has 'more', which is of no checkpoint"),
        (lambda v: v.update({"pytorch-lightning_version": "x"}), "which version of Lightning"),
        (lambda v: v.update({"pytorch-lightning_version": "1.9.5", "loops": "x"}), "that rope-mt has never used"),
        (lambda v: v.update({"x" * 10**6: 1}), "which is of no checkpoint"),
        (lambda v: v["state_dict"].popitem(), "is missing"),
        (lambda v: v["ema"].popitem(), "is missing"),
        (lambda v: v.pop("ema"), "they have 0 layers"),
        (lambda v: v["rope_mt"]["config"].update(seed=4), "of a run with other settings or other text"),
        (lambda v: v["rope_mt"].update(tokens_seen=-1), "has not what a checkpoint of rope-mt has"),
        (lambda v: v["rope_mt"].pop("tokens_seen"), "rope_mt.tokens_seen is not what a run saves there"),
        (lambda v: of("Checkpoints", v).clear(), "callbacks.Checkpoints.best_bleu is not"),
        (lambda v: of("Report", v)["interval"].update(_nats="x"), "callbacks.Report.interval._nats is not"),
        (lambda v: v["callbacks"].clear(), "callbacks"),
        (lambda v: v["loops"].clear(), "loops.fit_loop"),
        (lambda v: v["loops"]["fit_loop"].update(state_dict={}), "loops.fit_loop.state_dict.combined_loader"),
        (lambda v: v["loops"]["fit_loop"]["epoch_progress"].update(total=None), "fit_loop.epoch_progress.total"),
        (lambda v: v["lr_schedulers"].clear(), "lr_schedulers is not"),
        (lambda v: adam(v)["state"].pop(3), "optimizer_states.state.3 is not"),
        (lambda v: adam(v)["state"][3].pop("exp_avg"), "optimizer_states.state.3 is not"),
        (lambda v: adam(v)["state"][3].update(exp_avg=torch.zeros(2)), "optimizer_states.state.3 is not"),
        (lambda v: adam(v)["param_groups"].clear(), "optimizer_states is not"),
        (lambda v: adam(v)["param_groups"][0]["params"].reverse(), "optimizer_states.param_groups is not"),
        (lambda v: adam(v)["param_groups"][0].update(lr="x"), "optimizer_states is not"),
        (lambda v: adam(v)["param_groups"][0].update(fused=False), "optimizer_states.param_groups is not"),
        (lambda v: adam(v)["param_groups"][0].update(betas=(0.5, 2.0)), "optimizer_states.param_groups is not"),
        (lambda v: of("Report", v)["interval"].update(metrics="x"), "callbacks.Report.interval is not"),
        (lambda v: of("Report", v).update(training_seconds=1e90), "callbacks.Report is not"),
        (lambda v: of("Report", v)["interval"].update(_trained=10**30), "callbacks.Report.interval._trained is not"),
        (lambda v: of("Report", v).update(skipped=-1), "callbacks.Report.skipped is not"),
        (lambda v: of("Checkpoints", v).update(best_bleu=float("nan")), "callbacks.Checkpoints.best_bleu is not"),
        (lambda v: v["lr_schedulers"][0].update(get_lr="x"), "lr_schedulers.0 is not"),
        (lambda v: v["lr_schedulers"][0].update(last_epoch=10**400), "lr_schedulers.0.last_epoch is not"),
        (lambda v: loader(v).update(drawn=0.5), "combined_loader.0.drawn is not"),
        (lambda v: loader(v).update(epoch=-1), "combined_loader.0.epoch is not"),
        (lambda v: v["loops"]["fit_loop"]["epoch_progress"].update(reset="x"), "fit_loop.epoch_progress is not"),
    ],
)
def test_each_part_that_is_missing_or_another_is_named(cfg, begun, change: Callable[[Any], Any], said):
    run, whole = begun
    values = pickle.loads(whole)
    change(values)
    checkpoint.write(full(run), values)
    with pytest.raises(UserError, match=r"step-0000002\.ckpt") as caught:
        train(cfg, run.path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_as_it_was_it_is_gone_on_with(cfg, begun):
    run, whole = begun
    checkpoint.write(full(run), pickle.loads(whole))
    train(cfg, run.path)
    assert run.result.is_file()


def test_sums_of_several_processes_are_gone_on_with(cfg, begun):
    run, whole = begun
    values = pickle.loads(whole)
    of("Report", values)["interval"].update(_trained=7.0, _tokens=7.0)  # added up in double
    values["callbacks"]["Elsewhere"] = {"x": 1}  # as a process is not the first finds the Report's
    checkpoint.write(full(run), values)
    run.result.unlink(missing_ok=True)
    train(cfg, run.path)
    assert run.result.is_file()


def test_a_report_takes_its_own_sums_alone(tmp_path):
    report = Report(tmp_path / "metrics.jsonl", Tracker(None, tmp_path), Console(quiet=True), 1, 1)
    state = report.state_dict()
    report.load_state_dict({**state, "interval": {**state["interval"], "metrics": "x"}})
    assert report.metrics == tmp_path / "metrics.jsonl"


@pytest.mark.parametrize("file", ["run.json", "config.yaml", "test.src", "test.ref"])
def test_what_the_run_began_with_is_as_it_was(cfg, begun, file):
    run, _ = begun
    path = run.path / file
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[:-3] + b"x" + kept[-2:])
        with pytest.raises(UserError, match=rf"{file} .*: start the run again with overwrite=true$"):
            train(cfg, run.path)
    finally:
        path.write_bytes(kept)


def test_rows_of_metrics_are_kept_unless_one_is_damaged_that_no_kill_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    assert metrics_upto(path, 2) == [{"step": 1}, {"step": 2}]
    for damaged in ('{"step": 1}\n{"ste\n{"step": 3}\n', "{}\n[]\n", '{"step": "x"}\n', "\xff\n", '{"a": 1}\n'):
        path.write_bytes(damaged.encode("latin1"))
        with pytest.raises(UserError, match=r"metrics\.jsonl, line [12], is damaged: start the run again"):
            metrics_upto(path, 2)
