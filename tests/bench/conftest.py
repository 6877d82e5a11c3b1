"""A small corpus for what is measured in training, and one thread to train on it with."""

from collections.abc import Iterator

import pytest
import torch

from rope_mt.config.data import DataConfig, Recipe
from rope_mt.data import toy


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """So small a model gains nothing from more, and loses much where the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> DataConfig:
    folder = tmp_path_factory.mktemp("text")
    corpus = toy.generate(n_train=300, n_valid=4, n_test=4)
    for name, pairs in (("train", corpus.train), ("valid", corpus.valid)):
        for side, lang in enumerate(("en", "de")):
            (folder / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    train, valid = str(folder / "train"), str(folder / "valid")
    recipe = Recipe(max_steps=2, val_every=4, warmup_steps=3, lr=1e-2)
    return DataConfig("files", train, valid, valid, vocab_size=450, batch_tokens=520, dir=str(folder), recipe=recipe)
