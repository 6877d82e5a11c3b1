"""A small corpus to train on, the configuration of a small run, and finished runs."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import SearchConfig
from rope_mt.data import toy
from rope_mt.training import module
from rope_mt.training.train import train

from ..small import small_config, write_pairs
from .killed_run import words


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """A small corpus: 120 training pairs, 16 short ones of them by themselves, and a few for validation."""
    folder = tmp_path_factory.mktemp("text")
    corpus = toy.generate(n_train=120, n_valid=8, n_test=8)
    # of the same words in another order only one: without positions they cannot be told apart
    distinct = {toy.bag_of_words(en): (en, de) for en, de in corpus.train if len(en) < 50}
    for name, pairs in (("train", corpus.train), ("sixteen", [*distinct.values()][:16]), ("valid", corpus.valid)):
        write_pairs(folder / name, pairs)
    return folder


@pytest.fixture(scope="session")
def config(text) -> Callable[..., TrainConfig]:
    """Makes the configuration of a small run."""

    def settings(train_on: str = "train", test_on: str = "valid", scheme: str = "rope", **trainer) -> TrainConfig:
        files = [str(text / name) for name in (train_on, test_on, test_on)]
        trainer = {"max_steps": 8, "val_every": 4, "val_sentences": 8, "log_every": 2, "precision": "auto", **trainer}
        cfg = small_config(files, text / "data", POSITION_CONFIGS[scheme](), **trainer)
        cfg.seed = 3
        cfg.model.d_model, cfg.model.d_ff, cfg.model.n_heads = 64, 128, 4
        cfg.optimizer.warmup_steps = 20
        cfg.search = SearchConfig(beam=2, length_penalty=0.6, max_len_a=0.0, max_len_b=3)  # untrained, none ends
        return cfg

    return settings


@pytest.fixture(scope="session")
def quick(config) -> Callable[..., TrainConfig]:
    """Makes the configuration of two steps with one validation."""
    return partial(config, max_steps=2, val_every=2, val_sentences=1)


@pytest.fixture(scope="session")
def finished_run(quick, tmp_path_factory) -> Path:
    """The folder of a finished run of `quick()`."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(quick(), folder)
    return folder


@pytest.fixture
def finished(finished_run, tmp_path) -> Path:
    """A copy of that run, to do anything with."""
    return shutil.copytree(finished_run, tmp_path / "finished")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> list[str]:
    """A smaller run as words of a command line, with text that is prepared once."""
    folder = tmp_path_factory.mktemp("words")
    return [*words(folder), f"data.dir={folder / 'data'}"]


@pytest.fixture
def spoil(monkeypatch):
    """Multiplies the loss of some updates, and so their gradients, by infinity or NaN."""
    honest = module.loss_of

    def arrange(updates: dict[int, float], batch: int = 0) -> list[torch.Tensor]:
        """Spoils the batch of this number of each of the updates; gives the sources of all such batches."""
        now: list[tuple[int, int]] = []
        spoilt: list[torch.Tensor] = []
        begin = module.TranslationModule.on_train_batch_start

        def on_train_batch_start(self, data, batch_idx):
            now[:] = [(self.global_step + 1, batch_idx % self.cfg.trainer.accumulate)]
            begin(self, data, batch_idx)

        def loss_of(model, data, smoothing, **more):
            loss = honest(model, data, smoothing, **more)
            step, number = now[0]
            if not model.training or step not in updates or number != batch:
                return loss
            spoilt.append(data.src)
            return loss * updates[step]

        monkeypatch.setattr(module.TranslationModule, "on_train_batch_start", on_train_batch_start)
        monkeypatch.setattr(module, "loss_of", loss_of)
        return spoilt

    return arrange
