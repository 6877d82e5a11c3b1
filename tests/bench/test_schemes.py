"""`rope-mt bench schemes`: the steps are those of training, in fair turns, and the report follows from their times."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rope_mt.bench import schemes, steps
from rope_mt.bench.bench import bench
from rope_mt.bench.schemes import BASELINE, summary, table
from rope_mt.bench.steps import Training, as_trained, first_batches
from rope_mt.config.commands import BenchSchemesConfig, BenchSchemesSettings
from rope_mt.config.position import RopeConfig
from rope_mt.data.batches import Batch
from rope_mt.errors import UserError
from rope_mt.position import SCHEMES
from rope_mt.training.fit import build_trainer
from rope_mt.training.module import TranslationModule
from rope_mt.training.processes import ALONE

STEPS = 1


@pytest.fixture
def cfg(small) -> BenchSchemesConfig:
    return BenchSchemesConfig(bench=BenchSchemesSettings(steps=STEPS), precision="fp32", **small)


def test_a_model_that_takes_too_much_memory_is_refused_in_one_line(cfg, monkeypatch):
    def measure(cfg: BenchSchemesConfig) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(schemes, "measure", measure)
    with pytest.raises(UserError, match="smaller model"):
        bench(cfg)


def test_every_scheme_takes_turns_with_the_baseline_on_the_same_batches(cfg, capsys, monkeypatch):
    """Table and JSON agree."""
    cfg = replace(cfg, bench=replace(cfg.bench, json=True))
    taken = []  # scheme and batch of each step
    honest = TranslationModule.training_step

    def noted(module: TranslationModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        taken.append((module.cfg.position.name, batch))
        return honest(module, batch, batch_idx)

    monkeypatch.setattr(TranslationModule, "training_step", noted)
    bench(cfg)
    report = json.loads(capsys.readouterr().out)
    rows = report["schemes"]
    assert {*rows} == {*SCHEMES} - {BASELINE}
    assert rows["learned"]["parameters"] > rows["rope"]["parameters"] == rows["none"]["parameters"]

    drawn, each = [], len(taken) // len(rows)
    for n, name in enumerate(rows):
        of_scheme = taken[n * each :][:each][-4 * STEPS :]  # after one step on each shape
        pairs = list(zip(of_scheme[::2], of_scheme[1::2], strict=True))
        for i, ((first, batch), (second, same)) in enumerate(pairs):
            assert (first, second) == ((name, BASELINE) if i % 2 else (BASELINE, name))
            assert all(torch.equal(*parts) for parts in zip(batch, same, strict=True))
        drawn.append([tuple(batch.tgt_out.tolist()) for (_, batch), _ in pairs])
    assert all(batches == drawn[0] for batches in drawn)
    assert len({*drawn[0]}) == 2 * STEPS

    assert report["corpus"] == "files"
    for line, (name, row) in zip(table(rows)[1:], rows.items(), strict=True):
        assert row["lower quartile"] <= row["ratio"] <= row["upper quartile"]
        words = line.replace(" %", "%").split()
        assert words[:2] == [name, f"{row['parameters']:,}"]
        assert words[2:4] == [f"{row['seconds']:.4f}", f"{row[f'seconds of {BASELINE}']:.4f}"]
        shown = [f"{100 * (row[key] - 1):+.1f}%" for key in ("ratio", "lower quartile", "upper quartile")]
        assert [words[4], words[5], words[7]] == shown
        assert len(line) < 120


@pytest.mark.filterwarnings("ignore:::lightning")
def test_a_step_is_the_one_that_training_makes(cfg, data):
    """Two steps here and two in Lightning's loop, with a gradient large enough to be clipped: the same weights."""
    train = as_trained(cfg, RopeConfig())
    here, there = (Training.of(train, data, "fp32", torch.device("cpu")) for _ in range(2))
    before = [parameter.clone() for parameter in here.module.parameters()]
    for training in (here, there):
        training.module.cfg.trainer.clip = 0.1
    for batch in first_batches(data, 2):
        here.step(batch)
    data.plan.epoch = 0
    trainer = build_trainer(there.module.cfg, "fp32", [], ALONE)
    assert isinstance(there.module, TranslationModule)
    trainer.fit(there.module, data)
    for mine, theirs, old in zip(here.module.parameters(), there.module.parameters(), before, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
        assert not torch.equal(mine, old)


def test_more_batches_than_an_epoch_has_come_from_the_next(data):
    n = len(data.plan)
    batches = first_batches(data, n + 2)
    assert len(batches) == n + 2
    targets = [tuple(batch.tgt_out.tolist()) for batch in batches]
    assert sum(map(len, targets[:n])) == int(data.pairs.lengths()[1].sum())
    assert targets[:2] != targets[n:]


def test_the_ratio_is_that_of_two_batches_together():
    times = np.array([[1.0, 3.0, 2.0, 2.0, 1.0, 1.0], [3.0, 3.0, 2.0, 2.0, 2.0, 3.0]])  # 6 by 4, 4 by 4, 5 by 2
    quartiles = {"lower quartile": 1.25, "ratio": 1.5, "upper quartile": 2.0}
    assert summary(times) == pytest.approx({"seconds": 2.5, f"seconds of {BASELINE}": 2.0, **quartiles})


def test_the_first_step_on_a_shape_does_not_count(cfg, monkeypatch):
    seen = set()

    def seconds(training: Training, batch: Batch) -> float:
        step = training, batch.src.shape, batch.tgt_in.shape
        first = step not in seen
        seen.add(step)
        return 100.0 if first else 1.25 if training.module.cfg.position.name == "rope" else 1.0

    monkeypatch.setattr(steps, "seconds", seconds)
    row = schemes.measure(replace(cfg, bench=BenchSchemesSettings(schemes=["rope"], steps=STEPS)))["schemes"]["rope"]
    assert [row["lower quartile"], row["ratio"], row["upper quartile"]] == [1.25, 1.25, 1.25]


def test_a_scheme_that_the_model_refuses_is_listed(cfg, capsys):
    linear = replace(cfg, model=replace(cfg.model, attention="linear"))
    rows = schemes.measure(replace(linear, bench=BenchSchemesSettings(schemes=["t5", "rope"], steps=1)))["schemes"]
    assert [*rows] == ["t5", "rope"]
    assert "t5" in rows["t5"]["refused"]
    assert rows["rope"]["ratio"] > 0
    assert "t5: refused (1 of 2)" in capsys.readouterr().err
    lines = table(rows)
    assert lines[1].split()[:2] == ["t5", "refused:"]
    assert lines[2].startswith("rope ")
