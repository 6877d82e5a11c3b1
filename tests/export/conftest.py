"""Small models to export, as checkpoints in memory and in run folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import PositionConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import PAD, Tokenizer, train_tokenizer
from rope_mt.model.transformer import Transformer
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint


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
        model = {"d_model": 30, "d_ff": 52, "n_heads": 3, "n_layers": 2, "dropout": 0.1, **changes}
        cfg = TrainConfig(
            position=position,
            model=ModelConfig("test", **model),
            data=DataConfig("files", "train", "valid", "test", vocab_size=420, max_len=40),
            optimizer=OptimizerConfig(lr=1e-3, warmup_steps=5),
            trainer=TrainerConfig(max_steps=1, val_every=1, val_sentences=1, device="cpu", precision="fp32"),
            search=SearchConfig(beam=4, length_penalty=0.6),
            tracking=TrackingConfig("none"),
        )
        torch.manual_seed(0)
        transformer = Transformer(cfg.model, position, len(tokenizer), PAD)
        with torch.no_grad():
            for parameter in transformer.parameters():
                parameter += 0.3 * torch.randn(parameter.shape) if parameter.dim() == 1 else 0.5 * parameter
        return Checkpoint(cfg, tokenizer, transformer.state_dict(), 7, Path("test.ckpt"))

    return make


@pytest.fixture(scope="session")
def saved() -> Callable[[Checkpoint, Path], Path]:
    """Writes a checkpoint to where a finished run keeps its own; returns the run folder."""

    def save(ckpt: Checkpoint, folder: Path) -> Path:
        checkpoint.write(folder / "checkpoints" / "average", ckpt)
        return folder

    return save
