"""A small corpus to train on, the configuration of a small run, finished runs, and a way to end one early."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """A small corpus: 120 training pairs, 16 short ones of them by themselves, and a few for validation."""
    folder = tmp_path_factory.mktemp("text")
    corpus = toy.generate(n_train=120, n_valid=8, n_test=8)
    # of the same words in another order only one: without positions they cannot be told apart
    distinct = {toy.bag_of_words(en): (en, de) for en, de in corpus.train if len(en) < 50}
    sixteen = list(distinct.values())[:16]
    for name, pairs in (("train", corpus.train), ("sixteen", sixteen), ("valid", corpus.valid)):
        for side, lang in enumerate(("en", "de")):
            (folder / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def config(text) -> Callable[..., TrainConfig]:
    """Makes the configuration of a small run."""

    def settings(train_on: str = "train", test_on: str = "valid", scheme: str = "rope", **trainer) -> TrainConfig:
        files = (str(text / name) for name in (train_on, test_on, test_on))
        trainer = {"max_steps": 8, "val_every": 4, "val_sentences": 8, "log_every": 2, "device": "cpu", **trainer}
        return TrainConfig(
            seed=3,
            position=POSITION_CONFIGS[scheme](),
            model=ModelConfig("test", d_model=64, d_ff=128, n_heads=4, n_layers=1, dropout=0.1),
            data=DataConfig("files", *files, vocab_size=450, batch_tokens=1000, dir=str(text / "data")),
            optimizer=OptimizerConfig(lr=4e-3, warmup_steps=20),
            trainer=TrainerConfig(**trainer),
            search=SearchConfig(beam=2, length_penalty=0.6, max_len_a=0.0, max_len_b=3),  # so untrained, none ends
            tracking=TrackingConfig("none"),
        )

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
def small_run(text) -> list[str]:
    """The same text and a smaller run as words of a command line."""
    parts = (("train", "train"), ("valid", "valid"), ("test", "valid"))
    words = ["data=files", *(f"data.{part}={text / name}" for part, name in parts), f"data.dir={text / 'data'}"]
    words += ["data.vocab_size=450", "data.batch_tokens=1000", "tracking=none", "trainer.device=cpu"]
    words += ["model.d_model=32", "model.d_ff=64", "model.n_heads=2", "model.n_layers=1"]
    words += ["search=greedy", "search.max_len_a=0", "search.max_len_b=2"]  # an untrained model finds no end
    return [*words, "trainer.max_steps=30", "trainer.val_every=20", "trainer.val_sentences=2", "trainer.log_every=1"]


class KilledError(Exception):
    pass


@pytest.fixture
def kill_at(monkeypatch) -> Callable[[int], type[Exception]]:
    """Makes training die in the step that has this number, as if the machine had gone; gives the error it dies of."""

    def arrange(step: int) -> type[Exception]:
        honest = TranslationModule.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                raise KilledError
            return honest(self, batch, batch_idx)

        monkeypatch.setattr(TranslationModule, "training_step", training_step)
        return KilledError

    return arrange
