"""`rope-mt bench schemes`: the steps are those of training, in fair turns, and what is printed follows from them."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from rope_mt.bench import schemes
from rope_mt.bench.bench import bench
from rope_mt.bench.schemes import BASELINE, summary, table
from rope_mt.bench.steps import WARM_UP, Training, as_trained, first_batches
from rope_mt.config.commands import BenchSchemesConfig, BenchSchemesSettings
from rope_mt.config.position import RopeConfig
from rope_mt.config.training import ModelConfig
from rope_mt.data.batches import Batch
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare
from rope_mt.position import SCHEMES
from rope_mt.training.module import TranslationModule
from rope_mt.training.processes import ALONE
from rope_mt.training.train import build_trainer

STEPS = 3

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cfg(small_corpus) -> BenchSchemesConfig:
    """A small corpus and a smaller model."""
    return BenchSchemesConfig(
        data=small_corpus,
        bench=BenchSchemesSettings(steps=STEPS),
        model=ModelConfig("test", d_model=24, d_ff=40, n_heads=2, n_layers=1, dropout=0.1),
        device="cpu",
        precision="fp32",
    )


@pytest.fixture(scope="module")
def data(cfg) -> TranslationData:
    text_of = locate(cfg.data)
    return TranslationData(cfg.data, prepare(cfg.data, text_of), text_of, schemes.SEED)


@dataclass
class Measured:
    found: dict[str, Any]
    steps: list[tuple[str, Batch]]  # scheme and batch of each, in order


@pytest.fixture(scope="module")
def measured(cfg) -> Measured:
    """One measurement of every scheme, and which steps it took."""
    steps = []
    honest = TranslationModule.training_step

    def noted(module: TranslationModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        steps.append((module.cfg.position.name, batch))
        return honest(module, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TranslationModule, "training_step", noted)
        return Measured(schemes.measure(cfg), steps)


def test_every_scheme_but_the_baseline_is_measured(measured):
    found = measured.found["schemes"]
    assert {*found} == {*SCHEMES} - {BASELINE}
    for row in found.values():
        assert row["lower quartile"] <= row["ratio"] <= row["upper quartile"]
    assert found["learned"]["parameters"] > found["rope"]["parameters"] == found["none"]["parameters"]


def test_both_models_get_the_same_batches_in_changing_order(measured):
    each = 2 * (WARM_UP + 2 * STEPS)
    rounds = [measured.steps[start : start + each] for start in range(0, len(measured.steps), each)]
    drawn = []
    for name, steps in zip(measured.found["schemes"], rounds, strict=True):
        pairs = list(zip(steps[::2], steps[1::2], strict=True))
        assert [one for (one, _), _ in pairs] == [(BASELINE, name)[i % 2] for i in range(len(pairs))]
        assert [other for _, (other, _) in pairs] == [(name, BASELINE)[i % 2] for i in range(len(pairs))]
        for (_, batch), (_, same) in pairs:
            assert all(torch.equal(*parts) for parts in zip(batch, same, strict=True))
        drawn.append([tuple(batch.tgt_out.tolist()) for (_, batch), _ in pairs])
    assert all(batches == drawn[0] for batches in drawn)
    assert len({*drawn[0]}) == WARM_UP + 2 * STEPS


@pytest.mark.filterwarnings("ignore:::lightning")
def test_a_step_is_the_one_that_training_makes(cfg, data):
    """Two steps here and two in Lightning's loop, with a gradient large enough to be clipped: the same weights."""
    cfg = replace(cfg, model=replace(cfg.model, dropout=0.0))
    train = as_trained(cfg, RopeConfig())
    here, there = (Training.of(train, data, "fp32", torch.device("cpu")) for _ in range(2))
    before = [parameter.clone() for parameter in here.module.parameters()]
    for training in (here, there):
        training.module.cfg.trainer.clip = 0.1
    data.plan.epoch = 0
    for batch in first_batches(data, 2):
        here.step(batch)
    data.plan.epoch = 0
    trainer = build_trainer(there.module.cfg, "cpu", "fp32", [], ALONE)
    assert isinstance(there.module, TranslationModule)
    trainer.fit(there.module, data)
    for mine, theirs, old in zip(here.module.parameters(), there.module.parameters(), before, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
        assert not torch.equal(mine, old)


def test_more_batches_than_an_epoch_has_come_from_the_next(data):
    data.plan.epoch = 0
    n = len(data.plan)
    batches = first_batches(data, n + 2)
    assert len(batches) == n + 2
    targets = [tuple(batch.tgt_out.tolist()) for batch in batches]
    assert sum(map(len, targets[:n])) == int(data.pairs.lengths()[1].sum())
    assert targets[:2] != targets[n:]


def test_the_ratio_is_that_of_two_batches_together():
    pairs = [(1.0, 3.0), (3.0, 3.0), (2.0, 2.0), (2.0, 2.0), (1.0, 2.0), (1.0, 3.0)]  # 6 by 4, 4 by 4, 5 by 2
    assert summary(pairs) == pytest.approx(
        {
            "seconds": 2.5,
            f"seconds of {BASELINE}": 2.0,
            "lower quartile": 1.25,
            "ratio": 1.5,
            "upper quartile": 2.0,
        }
    )


def test_warming_up_does_not_count(cfg, monkeypatch):
    taken = dict.fromkeys(SCHEMES, 0)

    def seconds(training: Training, batch: Batch) -> float:
        name = training.module.cfg.position.name
        taken[name] += 1
        return 1.0 if name == BASELINE else 100.0 if taken[name] <= WARM_UP else 1.25

    monkeypatch.setattr("rope_mt.bench.steps.seconds", seconds)
    row = schemes.measure(replace(cfg, bench=BenchSchemesSettings(schemes=["rope"], steps=STEPS)))["schemes"]["rope"]
    assert [row["lower quartile"], row["ratio"], row["upper quartile"]] == [1.25, 1.25, 1.25]


def test_a_scheme_that_the_model_refuses_is_listed(cfg, capsys):
    linear = replace(cfg, model=replace(cfg.model, attention="linear"))
    bench(replace(linear, bench=BenchSchemesSettings(schemes=["t5", "rope"], steps=1, json=True)))
    said = capsys.readouterr()
    found = json.loads(said.out)["schemes"]
    assert [*found] == ["t5", "rope"]
    assert "t5" in found["t5"]["refused"]
    assert found["rope"]["ratio"] > 0
    assert "t5: refused (1 of 2)" in said.err
    lines = table(found)
    assert lines[1].split()[:2] == ["t5", "refused:"]
    assert lines[2].startswith("rope ")


def test_table_and_json_agree(cfg, measured, capsys, monkeypatch):
    monkeypatch.setattr(schemes, "measure", lambda cfg: measured.found)
    bench(replace(cfg, bench=replace(cfg.bench, json=True)))
    found = json.loads(capsys.readouterr().out)
    bench(cfg)
    said = capsys.readouterr().out.splitlines()
    assert found["corpus"] == "files"
    assert any(line.split() == ["precision", found["precision"]] for line in said)
    header = next(i for i, line in enumerate(said) if line.startswith("scheme "))
    assert len(said) == header + 1 + len(found["schemes"])
    for line, (name, row) in zip(said[header + 1 :], found["schemes"].items(), strict=True):
        words = line.replace(" %", "%").split()
        shown = [f"{100 * (row[key] - 1):+.1f}%" for key in ("ratio", "lower quartile", "upper quartile")]
        assert words[:2] == [name, f"{row['parameters']:,}"]
        assert [float(word) for word in words[2:4]] == pytest.approx(
            [row["seconds"], row[f"seconds of {BASELINE}"]], abs=6e-5
        )
        assert [words[4], words[5], words[7]] == shown
        assert len(line) < 120
