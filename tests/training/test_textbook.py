"""What makes training fast changes nothing: it gives the losses of training as the papers write it."""

from dataclasses import replace

import pytest
import torch

from rope_mt.bench.steps import Training, first_batches
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare

from .textbook import Textbook

STEPS = 20  # two hundred of the shape tiny are in tests/soak/same_mathematics.py


def test_every_lever_on_gives_the_losses_of_every_lever_off(config):
    cfg = config()
    cfg = replace(cfg, model=replace(cfg.model, dropout=0.0))
    text_of = locate(cfg.data)
    data = TranslationData(cfg.data, prepare(cfg.data, text_of), text_of.valid, cfg.seed)
    batches = first_batches(data, STEPS)
    fast = Training.of(cfg, data, "fp32", torch.device("cpu"))
    plain = Textbook(fast.module)
    expected = [plain.step(batch) for batch in batches]
    found = [fast.step(batch).item() for batch in batches]
    assert found == pytest.approx(expected, abs=1e-4)
    assert found[-1] < found[0] - 1  # and something was learned on the way
