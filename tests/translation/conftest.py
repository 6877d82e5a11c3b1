"""Small models that are not trained, and the command translate with one of them."""

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rope_mt.config.commands import TrainConfig, TranslateConfig, TranslateSearch, TranslateSettings
from rope_mt.config.position import LearnedConfig, PositionConfig, RopeConfig
from rope_mt.config.training import ModelConfig, SearchConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import PAD, Tokenizer, train_tokenizer
from rope_mt.model.transformer import Transformer
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.translation.translate import translate as translate_command
from rope_mt.translation.translator import Translator

from ..small import small_config

TABLE = 120  # positions of the learned scheme
MODEL = ModelConfig("test", d_model=24, d_ff=40, n_heads=3, n_layers=1, dropout=0.1)
SEARCH = SearchConfig(beam=3, length_penalty=0.6, max_len_a=0.0, max_len_b=9)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    pairs = toy.generate(n_train=100, n_valid=2, n_test=2).train
    return Tokenizer(train_tokenizer([*(line for pair in pairs for line in pair), *["$$ 漢"] * 60], 450, "bpe"))


def untrained_config(position: PositionConfig) -> TrainConfig:
    return replace(small_config(["train", "valid", "test"], "data", position, max_len=40), model=MODEL, search=SEARCH)


def untrained_model(position: PositionConfig, vocab_size: int, **settings: Any) -> Transformer:
    """A model with large random weights: the hypotheses of a new model would be alike."""
    torch.manual_seed(3)
    model = Transformer(replace(MODEL, **settings), position, vocab_size, PAD)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape) if parameter.dim() == 1 else parameter
    return model.eval()


@pytest.fixture(scope="session")
def checkpoints(tokenizer, tmp_path_factory) -> dict[str, Path]:
    """Checkpoints of two schemes, by their names."""
    paths = {}
    for position in (RopeConfig(), LearnedConfig(max_len=TABLE)):
        weights = untrained_model(position, len(tokenizer)).state_dict()
        path = paths[position.name] = tmp_path_factory.mktemp("models") / position.name
        checkpoint.write(path, Checkpoint(untrained_config(position), tokenizer, weights, 7, path))
    return paths


@pytest.fixture(scope="session")
def translators(checkpoints) -> dict[str, Translator]:
    """The models of these checkpoints, to be compared with the command."""
    loaded = {}
    for name, path in checkpoints.items():
        loaded[name] = Translator.of(checkpoint.load(path), SEARCH, torch.device("cpu"), "fp32")
    return loaded


@pytest.fixture
def translate(checkpoints, here, monkeypatch, capsysbinary) -> Callable[..., tuple[list[bytes], list[str]]]:
    """Run the command in an empty folder; return the lines that it writes, and those on standard error."""

    def run(
        stdin: bytes = b"", model: str = "rope", search: dict[str, Any] | None = None, **settings: Any
    ) -> tuple[list[bytes], list[str]]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        parts = TranslateSettings(**settings), TranslateSearch(**(search or {}))
        translate_command(TranslateConfig(str(checkpoints[model]), *parts, device="cpu"))
        out, err = capsysbinary.readouterr()
        assert not out or out.endswith(b"\n")
        return out.split(b"\n")[:-1], err.decode().splitlines()

    return run
