"""`trainer.precision=auto`: timed once, kept for a processor and a model, and left as it is in a run that has begun."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.system.device import PRECISIONS
from rope_mt.training import precision
from rope_mt.training.precision import choose, step_seconds
from rope_mt.training.train import train

CPU = torch.device("cpu")


@pytest.fixture
def timed(monkeypatch) -> list[dict[str, float]]:
    """The seconds that the next measurements will find, on a processor that multiplies in bf16."""
    answers: list[dict[str, float]] = []
    monkeypatch.setattr(precision, "step_seconds", lambda cfg: answers.pop(0))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    return answers


@pytest.fixture
def cfg(config, tmp_path):
    cfg = config(max_steps=1, val_every=1, val_sentences=1)
    return replace(cfg, data=replace(cfg.data, dir=str(tmp_path / "data")))


def test_the_faster_precision_is_kept_for_a_processor_and_a_model(cfg, timed, monkeypatch):
    timed += [{"bf16": 0.3, "fp32": 0.2}, {"bf16": 0.1, "fp32": 0.2}, {"bf16": 0.1, "fp32": 0.3}]
    chosen, why = choose(cfg, CPU)
    assert (chosen, "300 ms in bf16, 200 ms in fp32" in why) == ("fp32", True)
    of_another_scheme = replace(cfg, position=None)
    assert choose(of_another_scheme, CPU) == (chosen, why)
    wider = replace(cfg, model=replace(cfg.model, d_ff=256))
    assert choose(wider, CPU)[0] == "bf16"
    monkeypatch.setattr(precision, "processor", lambda: "another")
    assert choose(cfg, CPU)[0] == "bf16"
    assert timed == []


def test_a_run_goes_on_in_the_precision_that_it_began_with(cfg, timed, here, capsys):
    timed += [{"bf16": 0.3, "fp32": 0.2}, {"bf16": 0.1, "fp32": 0.2}]
    train(cfg)
    assert "precision a step takes 300 ms in bf16, 200 ms in fp32" in capsys.readouterr().out
    [folder] = (here / "outputs").iterdir()
    run = RunFolder(folder)
    assert json.loads(run.identity.read_text())["precision"] == "fp32"
    assert checkpoint.load(folder).config.trainer.precision == "fp32"  # as `eval` will compute
    shutil.rmtree(here / "data" / "precision")
    train(cfg)
    assert "is finished" in capsys.readouterr().out
    train(replace(cfg, seed=4))  # a new run is measured anew
    [other] = {*(here / "outputs").iterdir()} - {folder}
    assert json.loads(RunFolder(other).identity.read_text())["precision"] == "bf16"


@pytest.mark.parametrize(("longer", "warned"), [(3.0, True), (0.5, False)])
def test_a_precision_that_is_named_is_taken_without_measuring_steps(cfg, timed, longer, warned, monkeypatch):
    monkeypatch.setattr(precision, "product_in_bf16", lambda: longer)
    for name in PRECISIONS:
        named = replace(cfg, trainer=replace(cfg.trainer, precision=name))
        chosen, note = choose(named, CPU)
        assert chosen == name
        assert ("emulates bf16: a small product takes 3.0 times as long" in note) == (warned and name == "bf16")


def test_a_gpu_is_not_measured(cfg, timed, monkeypatch):
    for capability, expected in (((9, 0), "bf16"), ((7, 5), "fp32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert choose(cfg, torch.device("cuda")) == (expected, "")


def test_both_precisions_are_timed(cfg):
    times = step_seconds(cfg)
    assert [*times] == [*PRECISIONS]
    assert min(times.values()) > 0
    assert precision.product_in_bf16() > 0
