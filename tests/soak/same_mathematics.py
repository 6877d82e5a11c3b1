"""By hand, a quarter of an hour on two cores: pytest tests/soak/same_mathematics.py

The same mathematics for longer than the suite has time for: 200 steps of shape tiny against training as the papers
write it, and whole runs in bf16 against fp32.
"""

import json
from pathlib import Path

import pytest
import torch

from rope_mt.bench.steps import Training, first_batches
from rope_mt.cli.main import main
from rope_mt.config.training import ModelConfig, OptimizerConfig
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare

from ..small import small_config
from ..training.textbook import Textbook


def test_two_hundred_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = small_config([f"data/toy/{part}" for part in ("train", "valid", "test")], "data")
    cfg.data.origin, cfg.data.vocab_size, cfg.data.batch_tokens = "grammar", 1000, 2048
    cfg.model = ModelConfig("tiny", d_model=128, d_ff=512, n_heads=4, n_layers=2, dropout=0.0)
    cfg.optimizer = OptimizerConfig(lr=3e-3, warmup_steps=400)
    text_of = locate(cfg.data)
    data = TranslationData(cfg.data, prepare(cfg.data, text_of), text_of.valid, cfg.seed)
    fast = Training.of(cfg, data, "fp32", torch.device("cpu"))
    plain = Textbook(fast.module)
    pairs = [(fast.step(batch).item(), plain.step(batch)) for batch in first_batches(data, 200)]
    apart = [abs(ours - expected) for ours, expected in pairs]
    print(f"losses {pairs[0]} to {pairs[-1]}; apart {max(apart[:20]):.1e} in 20 steps, {apart[-1]:.1e} at 200")
    assert max(apart[:20]) < 1e-4
    assert apart[-1] < 0.01


def test_bf16_ends_where_fp32_does(tmp_path, monkeypatch):
    """The default run, whole, in both precisions."""
    monkeypatch.chdir(tmp_path)
    losses = {}
    for precision in ("fp32", "bf16"):
        assert main(["train", "tracking=none", f"trainer.precision={precision}", f"hydra.run.dir={precision}"]) == 0
        losses[precision] = json.loads(Path(precision, "result.json").read_text())["valid"]["loss"]
    print(losses)
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.02)
