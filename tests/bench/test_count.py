"""`rope-mt bench train bench.count=true`: what an op moves, and that a step of `base` moves no more than it did."""

import numpy as np
import pytest
import torch

from rope_mt.bench.count import FILLED, WIDTH, Counting, count, estimate, fused
from rope_mt.bench.train import flop_of_step
from rope_mt.cli.main import main
from rope_mt.config.commands import BenchTrainConfig, BenchTrainSettings
from rope_mt.config.data import DataConfig, Recipe
from rope_mt.config.position import RopeConfig
from rope_mt.config.training import ModelConfig

OPS, GB = 696, 37.0  # of base with rope, as the table in rope_mt/bench/README.md has them


def counted(work) -> tuple[int, int, int]:
    """Ops, bytes and FLOP."""
    with Counting() as counting:
        work()
    return len(counting.ops), sum(op.moved for op in counting.ops), sum(op.flop for op in counting.ops)


def test_bytes_are_those_read_and_written_and_views_move_none():
    a, b = torch.ones(8, 4), torch.ones(4, 16, dtype=torch.bfloat16)
    one = torch.ones(1)
    rows, column = torch.tensor([1, 5]), torch.zeros(8, 1, dtype=torch.int64)
    numbers = {
        (lambda: a.view(2, 16).t().unsqueeze(0).expand(9, 16, 2)): (0, 0, 0),
        (lambda: torch.empty(100)): (0, 0, 0),
        (lambda: a @ b.float()): (2, 64 * 2 + 64 * 4 + 4 * (32 + 64 + 128), 2 * 8 * 4 * 16),
        (lambda: a + 1): (1, 2 * 128, 0),
        (lambda: a.add_(a)): (1, 3 * 128, 0),
        (lambda: a.copy_(a.clone())): (2, 4 * 128, 0),
        (lambda: torch.add(a, 1, out=a.clone())): (2, 4 * 128, 0),
        (lambda: a + one.expand(8, 4)): (1, 2 * 128 + 4, 0),
        (lambda: a.index_select(0, rows)): (1, 2 * 8 + 2 * 2 * 16, 0),
        (lambda: a.gather(1, column)): (1, 8 * 8 + 2 * 8 * 4, 0),
    }
    for work, expected in numbers.items():
        assert counted(work) == expected


def test_the_peak_is_of_tensors_that_are_there_at_the_same_time():
    a = torch.ones(1_000)
    with Counting() as counting:
        b = a + 1
        c = b[:500] * 2
        del b
        d = c.view(5, 100) * 3
    assert counting.peak == 4_000 + 4_000 + 2_000
    del c
    with counting:
        torch.ones(2_000)
        e = d * 4
    assert counting.peak == 4_000 + 2_000 + 8_000
    assert e.numel() == 500
    with Counting([a]) as counting:
        torch.ones(500) + 1
    assert counting.peak == 4_000 + 2_000 + 2_000


def test_ops_of_rows_that_follow_each_other_are_one_kernel_which_writes_what_is_read_later():
    a, b = torch.ones(8, 4), torch.ones(4, 16)
    with Counting() as counting:
        ((a * 2 + 1).relu() @ b).neg()
    product = 4 * (8 * 4 + 4 * 16 + 8 * 16)
    assert fused(counting.ops) == (3, 2 * 128 + product + 4 * 8 * 16)
    with Counting() as counting:
        doubled = a * 2
        (doubled + a) @ b
        doubled.sum()
    assert fused(counting.ops) == (3, 3 * 128 + product + 128 + 4)


@pytest.fixture
def base() -> BenchTrainConfig:
    recipe = Recipe(max_steps=2, val_every=4, warmup_steps=3, lr=1e-2)
    data = DataConfig("wmt14", "a", "a", "a", vocab_size=37_000, batch_tokens=25_000, recipe=recipe)
    model = ModelConfig("base", d_model=512, d_ff=2048, n_heads=8, n_layers=6, dropout=0.1)
    return BenchTrainConfig(data=data, bench=BenchTrainSettings(count=True), model=model, position=RopeConfig())


def test_a_step_of_base_needs_no_more_ops_and_bytes_than_the_table_says(base):
    report = count(base)
    assert 0.9 * OPS < report["ops"] <= OPS
    assert 0.9 * GB < report["GB"] <= GB
    pairs = np.full(390, WIDTH)
    everything = flop_of_step(base.model, 37_000, pairs, pairs)
    padding = 6 * (1 - FILLED) * pairs.sum() * 37_000 * 512  # not in the output layer
    # attention's backward pass computes its scores again
    assert report["TFLOP"] == pytest.approx((everything - padding) / 1e12, rel=0.01)


def test_the_estimate_is_the_time_of_gpu_or_host_whichever_is_longer(base):
    """At 80 % of the bandwidth and 70 % of the peak: 1 ms for bytes, 2 ms for FLOP."""
    counts = (8 * 10**8, 14 * 10**10, 2)  # bytes, FLOP, ops
    settings = BenchTrainSettings(count=True, bandwidth=1.0, peak=100.0, launch=1000.0)
    found = estimate(settings, *counts, tokens=600)
    assert (found["milliseconds of the GPU"], found["milliseconds of the host"]) == pytest.approx((3, 2))
    assert found["target tokens/s"] == pytest.approx(200_000)
    settings.launch = 3000.0
    assert estimate(settings, *counts, tokens=600)["target tokens/s"] == pytest.approx(100_000)


def test_the_command_counts_any_scheme_and_names_what_it_assumes(capsys, here):
    words = ["model=tiny", "model.attention=linear", "model.norm=pre", "position=learned", "bench.gpu=A100"]
    assert main(["bench", "train", "bench.count=true", *words]) == 0
    printed = capsys.readouterr().out
    assert "2.04 TB/s, 80% of it reached" in printed
    assert "312 TFLOP/s, 70% of it reached" in printed
    assert not list(here.iterdir())  # neither text nor outputs
    scaled = ["model=tiny", "position=rope", "position.scaling=yarn", "position.factor=2"]
    assert main(["bench", "train", "bench.count=true", *scaled]) == 0
