"""A small corpus, its batches and a small model, on which training and decoding are measured."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from rope_mt.bench.steps import SEED
from rope_mt.config.data import DataConfig, Recipe
from rope_mt.config.training import ModelConfig
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare

from ..small import write_corpus


@pytest.fixture(autouse=True)
def one_thread(monkeypatch) -> Iterator[None]:
    """More threads gain nothing for so small a model, and lose much if the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr("rope_mt.bench.peers.cores", lambda: 1)
    monkeypatch.setattr("rope_mt.bench.train.SIDE", {"cpu": 64})
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> DataConfig:
    folder = tmp_path_factory.mktemp("text")
    train, _, test = write_corpus(folder, n_train=300, n_valid=2, n_test=9)
    recipe = Recipe(max_steps=2, val_every=4, warmup_steps=3, lr=1e-2)
    return DataConfig("files", train, test, test, vocab_size=450, batch_tokens=520, dir=str(folder), recipe=recipe)


@pytest.fixture(scope="session")
def corpus_words(small_corpus) -> list[str]:
    """The same as words on the command line."""
    words = [f"data.{name}={getattr(small_corpus, name)[0]}" for name in ("train", "valid", "test")]
    return ["data=files", f"data.vocab_size={small_corpus.vocab_size}", *words]


@pytest.fixture
def small(small_corpus) -> dict[str, Any]:
    """The settings that the configurations of all subjects but data have."""
    model = ModelConfig("test", d_model=24, d_ff=40, n_heads=2, n_layers=2, dropout=0.0)
    return {"data": small_corpus, "model": model, "device": "cpu"}


@pytest.fixture
def data(small_corpus) -> TranslationData:
    corpus = locate(small_corpus)
    return TranslationData(small_corpus, prepare(small_corpus, corpus), corpus.valid, SEED)
