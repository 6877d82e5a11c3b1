"""`rope-mt bench train`: what is counted is in the batches, what is timed is its name, the yardstick is honest."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rope_mt.bench import flops, steps, train
from rope_mt.bench.bench import bench
from rope_mt.bench.steps import WARM_UP, Training, as_trained, first_batches
from rope_mt.bench.train import OURS, PARTS, THEIRS, TRIALS, Lengths, against, alone, choose_threads, summary, table
from rope_mt.bench.yardstick import Yardstick
from rope_mt.cli.main import main
from rope_mt.config.commands import BenchTrainConfig, BenchTrainSettings
from rope_mt.config.position import NoPositionConfig, RopeConfig
from rope_mt.config.training import ModelConfig
from rope_mt.data.batches import Batch
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare
from rope_mt.data.tokenizer import EOS, PAD

CPU = torch.device("cpu")
STEPS = 2

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cfg(small_corpus) -> BenchTrainConfig:
    """A small corpus and a smaller model."""
    return BenchTrainConfig(
        data=small_corpus,
        bench=BenchTrainSettings(steps=STEPS),
        model=ModelConfig("test", d_model=24, d_ff=40, n_heads=2, n_layers=3, dropout=0.0),
        position=RopeConfig(),
        device="cpu",
        precision="fp32",
    )


@pytest.fixture(scope="module")
def data(cfg) -> TranslationData:
    text_of = locate(cfg.data)
    return TranslationData(cfg.data, prepare(cfg.data, text_of), text_of, steps.SEED)


@pytest.fixture(scope="module")
def batch(data) -> Batch:
    """The first batch, which has padding on both sides."""
    data.plan.epoch = 0
    [batch] = first_batches(data, 1)
    assert (batch.src == PAD).any()
    assert batch.n_tokens < batch.tgt_in.numel()
    return batch


def yardstick(cfg: BenchTrainConfig, data: TranslationData, **sizes: Any) -> Yardstick:
    torch.manual_seed(0)
    model = replace(cfg.model, **sizes)
    return Yardstick(as_trained(replace(cfg, model=model), cfg.position), len(data.tokenizer))


@pytest.fixture(scope="module")
def found(cfg) -> dict[str, Any]:
    """What the real command line prints."""
    words = [f"data.{name}={getattr(cfg.data, name)[0]}" for name in ("train", "valid", "test")]
    words += [f"data.{name}={getattr(cfg.data, name)}" for name in ("vocab_size", "batch_tokens", "dir")]
    words += ["data=files", "model=tiny", "device=cpu", "precision=fp32", f"bench.steps={STEPS}", "bench.json=true"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.chdir(cfg.data.dir)
        assert main(["bench", "train", *words]) == 0
    return json.loads(printed.getvalue())


def test_what_is_counted_is_in_the_batches_that_training_draws(found, data):
    data.plan.epoch = 0
    before = TRIALS + WARM_UP
    drawn = first_batches(data, before + STEPS)[before:]
    rows = data.plan.batches()[before : before + STEPS]
    src, tgt = (sum(int(side[r].sum()) for r in rows) for side in data.pairs.lengths())
    slots = sum(len(batch.src) * (batch.src.shape[1] + batch.tgt_in.shape[1]) for batch in drawn)
    assert found["target tokens per step"] == pytest.approx(tgt / STEPS)
    assert found["real tokens over slots"] == pytest.approx((src + tgt) / slots)
    assert found["parameters"] > len(data.tokenizer) * 128


def test_figures_agree_with_each_other(found):
    spent = found["milliseconds per step"]
    assert spent["all"] == pytest.approx(sum(spent[part] for part in PARTS))
    assert min(spent.values()) > 0
    assert found["share of it"] == pytest.approx(found["GFLOP/s"] / found["GFLOP/s of a matrix product"])
    assert 0 < found["peak memory, MB"]["before training"] <= found["peak memory, MB"]["in training"]
    assert [*found["systems"]] == [OURS, THEIRS]
    assert found["systems"][OURS]["threads"] == found["threads"] == 1


def test_lengths_are_those_of_real_tokens(batch):
    lengths = Lengths.of(batch)
    for row, n in zip(batch.src.tolist(), lengths.src, strict=True):
        assert (row[n - 1], PAD in row[:n]) == (EOS, False)
    at = 0
    for n in lengths.tgt:
        sentence = batch.tgt_out[at : at + n].tolist()
        assert (sentence[-1], sentence.count(EOS)) == (EOS, 1)
        at += int(n)
    assert at == batch.n_tokens


def unpadded(pairs: int, src: int, tgt: int) -> Batch:
    ids = torch.arange(pairs * (src + tgt)) % 400 + 10
    right = ids[: pairs * tgt]
    inputs = right.view(pairs, tgt).roll(1, dims=1)
    return Batch(ids[pairs * tgt :].view(pairs, src), inputs, right, torch.arange(len(right)))


@pytest.mark.parametrize("system", [OURS, THEIRS])
def test_the_formula_counts_what_torch_counts(cfg, data, system):
    """Forward and backward of a batch without padding, every product of them."""
    settings = as_trained(cfg, NoPositionConfig())
    module = Training.of(settings, data, "fp32", CPU).module if system == OURS else yardstick(cfg, data)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.training_step(unpadded(pairs=3, src=5, tgt=7), 0).backward()
    vocab = len(data.tokenizer)
    assert counter.get_total_flops() == flops.of_step(cfg.model, vocab, np.full(3, 5), np.full(3, 7))


def test_each_pair_has_its_own_scores(cfg):
    """Sentences of different lengths, together or one by one: the same count."""
    src, tgt = np.array([2, 3, 11]), np.array([5, 7, 1])
    one_by_one = [flops.of_step(cfg.model, 450, src[i : i + 1], tgt[i : i + 1]) for i in range(3)]
    assert flops.of_step(cfg.model, 450, src, tgt) == sum(one_by_one)


class Clock:
    now = 0.0

    @classmethod
    def pass_by(cls, seconds: float, value: Any = None) -> Any:
        cls.now += seconds
        return value


def test_each_part_is_timed_as_what_it_is(cfg, data, batch, monkeypatch):
    monkeypatch.setattr(train.time, "perf_counter", lambda: Clock.now)
    training = Training.of(as_trained(cfg, RopeConfig()), data, "fp32", CPU)
    parameter = next(training.module.parameters())

    def training_step(batch: Batch, batch_idx: int) -> torch.Tensor:
        Clock.pass_by(10)
        loss = parameter.sum()
        loss.register_hook(lambda grad: Clock.pass_by(100, grad))
        return loss

    monkeypatch.setattr(training, "moved", lambda batch: Clock.pass_by(2, batch))
    monkeypatch.setattr(training.module, "training_step", training_step)
    monkeypatch.setattr(training.module, "on_before_optimizer_step", lambda optimizer: Clock.pass_by(400))
    monkeypatch.setattr(training.optimizer, "step", lambda: Clock.pass_by(500))
    monkeypatch.setattr(training.schedule, "step", lambda: Clock.pass_by(60))
    monkeypatch.setattr(training.optimizer, "zero_grad", lambda: Clock.pass_by(40))
    _, times = alone(training, (Clock.pass_by(1, batch) for _ in range(9)), 3)
    assert times.tolist() == 3 * [[3, 10, 100, 1000]]


def test_rates_are_medians_and_milliseconds_means():
    lengths = [Lengths(np.array([6, 4]), np.array([n - 3, 3]), 50) for n in (20, 10, 30)]
    times = np.array([[0.5, 1.0, 2.0, 0.5], [1.0, 2.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]])  # 4, 5 and 2 seconds
    made = summary(lengths, times, [8_000, 50_000, 6_000], reachable=10_000.0)
    assert made["target tokens/s"] == 5  # of 5, 2 and 15
    assert made["target tokens per step"] == 20
    assert made["real tokens over slots"] == (30 + 60) / 150
    spent = made["milliseconds per step"]
    assert spent["all"] == pytest.approx(11_000 / 3)
    assert [spent[part] for part in PARTS] == pytest.approx([500, 4000 / 3, 4000 / 3, 500])
    assert made["GFLOP/s"] == pytest.approx(3e-6)  # of 2,000, 10,000 and 3,000 a second
    assert made["share of it"] == pytest.approx(0.3)


def test_ours_is_compared_on_two_neighbouring_batches():
    pairs = [(1.0, 3.0), (3.0, 3.0), (2.0, 2.0), (2.0, 2.0), (1.0, 2.0), (1.0, 3.0)]  # 4 and 6, 4 and 4, 2 and 5
    made = against(pairs, [30, 30, 20, 20, 10, 10], 1, 2)
    assert made[OURS] == {"target tokens/s": 10, "seconds": 1.5, "threads": 1}
    theirs = {"target tokens/s": 10, "seconds": 2.5, "threads": 2}
    assert made[THEIRS] == theirs | {"ratio": 1.5, "lower quartile": 1.25, "upper quartile": 2.0}
    assert table(made)[2].endswith("1.50 x   1.25 to 2.00")


def test_the_fastest_number_of_threads_is_taken(cfg, data, batch, monkeypatch, capsys):
    training = Training.of(as_trained(cfg, RopeConfig()), data, "fp32", CPU)
    monkeypatch.setattr(train, "seconds", lambda training, batch: {1: 3.0, 4: 1.0, 8: 2.0}[training.threads])
    choose_threads("it", training, iter([batch]), 8)
    assert training.threads == 4
    assert capsys.readouterr().err == "it: 4 of 8 threads\n"


def test_both_may_take_all_threads(cfg, data, monkeypatch):
    """Whatever ours took before, the yardstick is tried with all there are."""
    asked = {}

    def chosen(name: str, training: Training, batches: Iterator[Batch], most: int) -> None:
        asked[name], training.threads = most, 1

    monkeypatch.setattr(train, "choose_threads", chosen)
    monkeypatch.setattr(flops, "SIDE_ELSEWHERE", 64)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    train.measure(replace(cfg, bench=BenchTrainSettings(steps=1)))
    assert (asked, torch.get_num_threads()) == ({OURS: 2, THEIRS: 2}, 2)
    torch.set_num_threads(threads)


def test_the_yardstick_ignores_padding(cfg, data, batch):
    module = yardstick(cfg, data)
    loss = module.training_step(batch, 0)
    width = batch.tgt_in.shape[1]
    padded = Batch(
        F.pad(batch.src, (0, 3), value=PAD),
        F.pad(batch.tgt_in, (0, 4), value=PAD),
        batch.tgt_out,
        batch.where // width * (width + 4) + batch.where % width,
    )
    torch.testing.assert_close(module.training_step(padded, 0), loss, rtol=0, atol=1e-5)


def test_the_yardstick_does_not_see_what_comes_next(cfg, data, batch):
    module = yardstick(cfg, data)
    width = batch.tgt_in.shape[1]
    early = batch.where % width < 2
    beginnings = batch._replace(tgt_out=batch.tgt_out[early], where=batch.where[early])
    changed = batch.tgt_in.clone()
    changed[:, 2] = 17
    loss, same = (module.training_step(each, 0) for each in (beginnings, beginnings._replace(tgt_in=changed)))
    torch.testing.assert_close(same, loss, rtol=0, atol=1e-6)
    changed[:, 1] = 17
    other = module.training_step(beginnings._replace(tgt_in=changed), 0)
    assert (other - loss).abs() > 1e-4


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_yardstick_learns(cfg, data, batch, norm):
    training = Training(yardstick(cfg, data, norm=norm), "fp32", CPU)
    losses = [float(training.step(batch)) for _ in range(20)]
    assert losses[-1] < losses[0] - 1


def test_the_yardstick_is_of_the_same_size(cfg, data):
    """Beside the embeddings both have: torch adds a norm behind each stack even where each sublayer has its own."""
    ours, theirs = Training.of(as_trained(cfg, RopeConfig()), data, "fp32", CPU).module, yardstick(cfg, data)
    sizes = [sum(p.numel() for p in module.parameters()) for module in (ours, theirs)]
    assert sizes[1] - sizes[0] == 2 * 2 * cfg.model.d_model


def test_without_the_yardstick_there_is_no_table(cfg, capsys, monkeypatch):
    linear = replace(cfg, model=replace(cfg.model, attention="linear"))
    monkeypatch.setattr(flops, "SIDE_ELSEWHERE", 64)
    bench(replace(linear, bench=BenchTrainSettings(steps=1, yardstick=False)))
    said = capsys.readouterr()
    assert THEIRS not in said.out + said.err
    assert any(line.split() == ["GFLOP/s", "not", "measured", "here"] for line in said.out.splitlines())
    assert all(len(line) < 120 for line in said.out.splitlines())


def test_a_model_that_does_not_go_with_the_scheme_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "train", "position=t5", "model.attention=linear"]) == 2
    assert "position=t5 acts on scores" in capsys.readouterr().err
