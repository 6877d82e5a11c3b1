"""`rope-mt bench train`: it counts what is in the batches, times each part by its name, and has an honest baseline."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rope_mt.bench import train
from rope_mt.bench.bench import bench
from rope_mt.bench.peers import Baseline
from rope_mt.bench.steps import Training, as_trained, first_batches, precisions
from rope_mt.bench.train import BASELINE, OURS, PARTS, TRIALS, Content, flop_of_step
from rope_mt.cli.main import main
from rope_mt.config.commands import BenchTrainConfig, BenchTrainSettings
from rope_mt.config.position import NoPositionConfig, RopeConfig
from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import EOS, PAD
from rope_mt.errors import UserError

CPU = torch.device("cpu")
STEPS = 2


@pytest.fixture
def cfg(small) -> BenchTrainConfig:
    return BenchTrainConfig(bench=BenchTrainSettings(steps=STEPS), position=RopeConfig(), precision="fp32", **small)


@pytest.fixture
def batch(data) -> Batch:
    """The first batch, which has padding on both sides."""
    [batch] = first_batches(data, 1)
    assert (batch.src == PAD).any()
    assert batch.n_tokens < batch.tgt_in.numel()
    return batch


@pytest.fixture
def ours(cfg, data) -> Training:
    return Training.of(as_trained(cfg, RopeConfig()), data, "fp32", CPU)


@pytest.fixture
def baseline(cfg, data) -> Baseline:
    torch.manual_seed(0)
    return Baseline(as_trained(cfg, cfg.position), len(data.tokenizer))


def test_the_report_counts_what_training_draws_and_adds_up(small_corpus, corpus_words, data, monkeypatch, capsys):
    words = [*corpus_words, f"data.batch_tokens={small_corpus.batch_tokens}", f"data.dir={small_corpus.dir}"]
    words += ["model=tiny", "device=cpu", "precision=fp32", f"bench.steps={STEPS}", "bench.json=true"]
    monkeypatch.chdir(small_corpus.dir)
    assert main(["bench", "train", *words]) == 0
    report = json.loads(capsys.readouterr().out)

    drawn = first_batches(data, TRIALS + STEPS)[TRIALS:]
    data.plan.epoch = 0
    rows = [batch.rows for batch in data.plan.batches()[TRIALS : TRIALS + STEPS]]
    src, tgt = (sum(int(side[r].sum()) for r in rows) for side in data.pairs.lengths())
    slots = sum(len(batch.src) * (batch.src.shape[1] + batch.tgt_in.shape[1]) for batch in drawn)
    assert report["target tokens per step"] == pytest.approx(tgt / STEPS)
    assert report["real tokens over slots"] == pytest.approx((src + tgt) / slots)
    assert report["parameters"] > len(data.tokenizer) * 128

    spent = report["milliseconds per step"]
    assert spent["all"] == pytest.approx(sum(spent[part] for part in PARTS))
    assert min(spent.values()) > 0
    assert report["share of it"] == pytest.approx(report["GFLOP/s"] / report["GFLOP/s of a matrix product"])
    assert 0 < report["peak memory, MB"]["before training"] <= report["peak memory, MB"]["in training"]
    rows, both = report["systems"], precisions(BASELINE, CPU)
    assert {*rows} == {f"{system} {precision}" for system in (OURS, BASELINE) for precision in both}
    assert rows[f"{OURS} fp32"]["threads"] == report["threads"] == 1
    baselines = [rows[f"{BASELINE} {precision}"] for precision in both]
    assert report["ours faster, best against best"] == min(row["ratio"] for row in baselines)


def test_the_content_of_a_batch_is_its_real_tokens(batch):
    content = train.content(batch)
    for row, n in zip(batch.src.tolist(), content.src, strict=True):
        assert (row[n - 1], PAD in row[:n]) == (EOS, False)
    start = 0
    for n in content.tgt:
        sentence = batch.tgt_out[start : start + n].tolist()
        assert (sentence[-1], sentence.count(EOS)) == (EOS, 1)
        start += int(n)
    assert start == batch.n_tokens


@pytest.mark.parametrize("system", [OURS, BASELINE])
def test_the_formula_counts_what_torch_counts(cfg, data, baseline, system):
    """Forward and backward of a batch without padding, every product of them."""
    ours = Training.of(as_trained(cfg, NoPositionConfig()), data, "fp32", CPU)
    module = ours.module if system == OURS else baseline
    pairs, src, tgt = 8, 5, 8  # 64 target tokens: ours rounds them up to a multiple of it
    ids = torch.arange(pairs * tgt) % 400 + 10
    batch = Batch(ids[: pairs * src].view(pairs, src), ids.view(pairs, tgt), ids, torch.arange(len(ids)))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.training_step(batch, 0).backward()
    expected = flop_of_step(cfg.model, len(data.tokenizer), np.full(pairs, src), np.full(pairs, tgt))
    assert counter.get_total_flops() == expected


def test_each_pair_has_its_own_scores(cfg):
    """Sentences of different lengths, together or one by one: the same count."""
    src, tgt = np.array([2, 3, 11]), np.array([5, 7, 1])
    one_by_one = [flop_of_step(cfg.model, 450, src[i : i + 1], tgt[i : i + 1]) for i in range(3)]
    assert flop_of_step(cfg.model, 450, src, tgt) == sum(one_by_one)


def test_each_part_is_timed_by_its_name(ours, batch, monkeypatch):
    now = [0.0]

    def lasts(seconds: float, result: Any = None) -> Any:
        now[0] += seconds
        return result

    def training_step(batch: Batch, batch_idx: int) -> torch.Tensor:
        lasts(10)
        loss = next(ours.module.parameters()).sum()
        loss.register_hook(lambda grad: lasts(100, grad))
        return loss

    monkeypatch.setattr(train.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(train, "move_data_to_device", lambda batch, _: lasts(2, batch))
    monkeypatch.setattr(ours.module, "training_step", training_step)
    monkeypatch.setattr(ours.module, "on_before_optimizer_step", lambda optimizer: lasts(400))
    monkeypatch.setattr(ours.optimizer, "step", lambda: lasts(500))
    monkeypatch.setattr(ours.schedule, "step", lambda: lasts(60))
    monkeypatch.setattr(ours.optimizer, "zero_grad", lambda: lasts(40))
    _, times = train.alone(ours, (lasts(1, batch) for _ in range(9)), 3)
    assert times.tolist() == 3 * [[3, 10, 100, 1000]]


def test_rates_are_medians_and_milliseconds_means():
    contents = [Content(np.array([6, 4]), np.array([n - 3, 3]), 50) for n in (20, 10, 30)]
    times = np.array([[0.5, 1.0, 2.0, 0.5], [1.0, 2.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]])  # 4, 5 and 2 seconds
    report = train.summary(contents, times, [8_000, 50_000, 6_000], reachable=10_000.0)
    assert report["target tokens/s"] == 5  # of 5, 2 and 15
    assert report["target tokens per step"] == 20
    assert report["real tokens over slots"] == (30 + 60) / 150
    spent = report["milliseconds per step"]
    assert [spent[part] for part in ("all", *PARTS)] == pytest.approx([11_000 / 3, 500, 4000 / 3, 4000 / 3, 500])
    assert report["GFLOP/s"] == pytest.approx(3e-6)  # of 2,000, 10,000 and 3,000 a second
    assert report["share of it"] == pytest.approx(0.3)


def test_our_best_is_compared_on_two_neighbouring_batches():
    ours, theirs = f"{OURS} fp32", f"{BASELINE} fp32"
    times = np.array([[1.0, 3.0, 2.0, 2.0, 1.0, 1.0], [3.0, 3.0, 2.0, 2.0, 2.0, 3.0]])  # 6 by 4, 4 by 4, 5 by 2
    slower = times[:1] + 1.0
    threads = {f"{OURS} bf16": 2, ours: 1, theirs: 2}
    rows = train.against(np.concatenate([slower, times]), [30, 30, 20, 20, 10, 10], threads)
    assert rows[ours] == {"target tokens/s": 10, "seconds": 1.5, "threads": 1}
    of_theirs = {"target tokens/s": 10, "seconds": 2.5, "threads": 2}
    assert rows[theirs] == of_theirs | {"ratio": 1.5, "lower quartile": 1.25, "upper quartile": 2.0}
    assert train.table(rows)[3].endswith("1.50 x   1.25 to 2.00")


def test_the_fastest_number_of_threads_is_taken(ours, batch, monkeypatch, capsys):
    monkeypatch.setattr(train, "seconds", lambda training, batch: {1: 3.0, 4: 1.0, 8: 2.0}[training.threads])
    train.choose_threads("a system", ours, iter([batch]), 8)
    assert ours.threads == 4
    assert capsys.readouterr().err == "a system: 4 of 8 threads\n"


def test_both_may_take_all_threads(cfg, monkeypatch):
    """The baseline is tried with all threads, whatever number ours took before."""
    most_of = {}

    def choose(name: str, training: Training, batches: Iterator[Batch], most: int) -> None:
        most_of[name], training.threads = most, 1

    monkeypatch.setattr(train, "choose_threads", choose)
    torch.set_num_threads(2)
    train.measure(replace(cfg, bench=BenchTrainSettings(steps=1)))
    both = precisions(BASELINE, CPU)
    assert most_of == {f"{system} {precision}": 2 for system in (OURS, BASELINE) for precision in both}


def test_compiled_training_is_measured_beside_eager_training_on_batches_of_few_shapes(cfg, data, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # checks of shapes do not compile
    report = train.measure(replace(cfg, bench=BenchTrainSettings(steps=STEPS, yardstick=False, compile=True)))
    assert [*report["systems"]] == [f"{OURS} fp32", f"{OURS} fp32 compiled"]
    assert report["compiled faster"] > 0
    drawn = first_batches(data, 40)
    kept = [*train.of_few_shapes(iter(drawn))]
    shapes = [(batch.src.shape, batch.tgt_in.shape) for batch in kept]
    assert len({*shapes}) == train.SHAPES
    assert len(kept) < len(drawn)
    assert shapes[0] == (drawn[0].src.shape, drawn[0].tgt_in.shape)


def test_the_baseline_ignores_padding(baseline, batch):
    width = batch.tgt_in.shape[1]
    src, tgt_in = F.pad(batch.src, (0, 3), value=PAD), F.pad(batch.tgt_in, (0, 4), value=PAD)
    padded = Batch(src, tgt_in, batch.tgt_out, batch.where // width * (width + 4) + batch.where % width)
    loss = baseline.training_step(batch, 0)
    torch.testing.assert_close(baseline.training_step(padded, 0), loss, rtol=0, atol=1e-5)


def test_the_baseline_does_not_see_what_comes_next(baseline, batch):
    early = batch.where % batch.tgt_in.shape[1] < 2
    changed = batch.tgt_in.clone()

    def loss() -> torch.Tensor:
        """Of the first two tokens of each sentence."""
        return baseline.training_step(Batch(batch.src, changed, batch.tgt_out[early], batch.where[early]), 0)

    before = loss()
    changed[:, 2] = 17
    torch.testing.assert_close(loss(), before, rtol=0, atol=1e-6)
    changed[:, 1] = 17
    assert (loss() - before).abs() > 1e-4


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_baseline_learns_and_has_the_size_of_ours(cfg, data, batch, norm):
    """Beside the embeddings both have: torch adds a norm behind each stack even where each sublayer has its own."""
    settings = as_trained(replace(cfg, model=replace(cfg.model, norm=norm)), cfg.position)
    ours, theirs = Training.of(settings, data, "fp32", CPU), Training(Baseline(settings, 450), "fp32", CPU)
    extra = 2 * 2 * cfg.model.d_model if norm == "post" else 0
    assert theirs.parameters - ours.parameters == extra
    losses = [float(theirs.step(batch)) for _ in range(20)]
    assert losses[-1] < losses[0] - 1


def test_without_the_baseline_there_is_no_table(cfg, capsys):
    linear = replace(cfg, model=replace(cfg.model, attention="linear"))
    bench(replace(linear, bench=BenchTrainSettings(steps=1, yardstick=False)))
    printed = capsys.readouterr()
    assert BASELINE not in printed.out + printed.err
    assert any(line.split() == ["GFLOP/s", "not", "measured", "here"] for line in printed.out.splitlines())
    assert all(len(line) < 120 for line in printed.out.splitlines())


def test_without_a_compiler_nothing_is_measured(cfg, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(train, "setup", None)
    with pytest.raises(UserError, match=r"needs a compiler of C\+\+: install g\+\+"):
        train.measure(replace(cfg, bench=BenchTrainSettings(steps=1, compile=True)))
