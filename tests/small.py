"""Small text and small runs, with which the tests of many rooms begin."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import PositionConfig, RopeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.runs.folder import RunFolder


def write_pairs(prefix: Path, pairs: Iterable[tuple[str, str]]) -> str:
    """Write PREFIX.en and PREFIX.de, and return PREFIX."""
    for lang, lines in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        Path(f"{prefix}.{lang}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(prefix)


def write_corpus(folder: Path, n_train: int = 120, n_valid: int = 8, n_test: int = 8) -> list[str]:
    """Write train, valid and test to this folder, and return their prefixes."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = toy.generate(n_train=n_train, n_valid=n_valid, n_test=n_test)
    parts = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
    return [write_pairs(folder / name, pairs) for name, pairs in parts.items()]


def small_config(
    files: list[str], data_dir: Path | str, position: PositionConfig | None = None, max_len: int = 256, **trainer: Any
) -> TrainConfig:
    """A run of four steps of a very small model, with a validation after two steps."""
    trainer = {"max_steps": 4, "val_every": 2, "val_sentences": 2, "log_every": 1, "precision": "fp32", **trainer}
    return TrainConfig(
        position=position or RopeConfig(),
        model=ModelConfig("test", d_model=16, d_ff=32, n_heads=2, n_layers=1, dropout=0.1),
        data=DataConfig("files", *files, vocab_size=450, batch_tokens=1000, max_len=max_len, dir=str(data_dir)),
        optimizer=OptimizerConfig(lr=4e-3, warmup_steps=5),
        trainer=TrainerConfig(device="cpu", **trainer),
        search=SearchConfig(beam=1, length_penalty=0.6, max_len_a=0.2, max_len_b=3),  # an untrained model finds no end
        tracking=TrackingConfig("none"),
    )


def rows(run: RunFolder) -> list[dict[str, Any]]:
    """The metrics, without a last line that is not whole."""
    lines = run.metrics.read_text().split("\n")[:-1] if run.metrics.is_file() else []
    return [json.loads(line) for line in lines]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
