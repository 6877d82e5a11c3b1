"""Small models to export, as checkpoints in memory and in run folders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rope_mt.config.position import PositionConfig
from rope_mt.config.training import SearchConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import Tokenizer, train_tokenizer
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint

from ..conftest import MODEL, untrained_config, untrained_model


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    return toy.generate(n_train=60, n_valid=2, n_test=2).train


@pytest.fixture(scope="session")
def tokenizer(pairs) -> Tokenizer:
    return Tokenizer(train_tokenizer([line for pair in pairs for line in pair], 420, "bpe"))


@pytest.fixture(scope="session")
def untrained(tokenizer) -> Callable[..., Checkpoint]:
    """Makes a model whose biases and norms are not the zeros and ones that training starts from."""

    def make(position: PositionConfig, **changes: Any) -> Checkpoint:
        shape = {"d_model": 30, "d_ff": 52, "n_layers": 2, **changes}
        weights = untrained_model(position, len(tokenizer), **shape).state_dict()
        search = SearchConfig(beam=4, length_penalty=0.6)
        cfg = replace(untrained_config(position), model=replace(MODEL, **shape), search=search)
        return Checkpoint(cfg, tokenizer, weights, 7, Path("test.ckpt"))

    return make


@pytest.fixture(scope="session")
def saved() -> Callable[[Checkpoint, Path], Path]:
    """Writes a checkpoint to where a finished run keeps its own; returns the run folder."""

    def save(ckpt: Checkpoint, folder: Path) -> Path:
        checkpoint.write(folder / "checkpoints" / "average", ckpt)
        return folder

    return save
