"""Finished runs of a few steps, for the analyses to read."""

from pathlib import Path

import pytest

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.training.train import train


@pytest.fixture(scope="session")
def few_pairs(tmp_path_factory) -> Path:
    """A folder with training text, and with validation and test text that are partly longer."""
    folder = tmp_path_factory.mktemp("few")
    corpus = toy.generate(n_train=120, n_valid=8, n_test=17)
    for name, pairs in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        for side, lang in enumerate(("en", "de")):
            (folder / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    return folder


def settings(folder: Path, scheme: str, seed: int = 1) -> TrainConfig:
    parts = [str(folder / name) for name in ("train", "valid", "test")]
    small = {"vocab_size": 450, "batch_tokens": 600, "max_len": 40, "dir": str(folder / "data")}
    return TrainConfig(
        seed=seed,
        position=POSITION_CONFIGS[scheme](),
        model=ModelConfig("test", d_model=32, d_ff=64, n_heads=2, n_layers=2, dropout=0.1),
        data=DataConfig("files", *parts, **small),
        optimizer=OptimizerConfig(lr=4e-3, warmup_steps=5),
        trainer=TrainerConfig(max_steps=3, val_every=1, val_sentences=4, device="cpu", precision="fp32"),
        search=SearchConfig(beam=1, length_penalty=0.6, max_len_a=0.2, max_len_b=5),
        tracking=TrackingConfig("none"),
    )


@pytest.fixture(scope="session")
def runs(few_pairs, tmp_path_factory) -> dict[str, Path]:
    """Run folders: rope with two seeds, one with a joined test set, sinusoidal-add, and learned with a short table."""
    made = {
        "rope": settings(few_pairs, "rope"),
        "rope again": settings(few_pairs, "rope", seed=2),
        "sinusoidal-add": settings(few_pairs, "sinusoidal-add"),
        "learned": settings(few_pairs, "learned"),
    }
    made["learned"].position.max_len = 150
    made["rope again"].data.joined_tests = [4]
    outputs = tmp_path_factory.mktemp("outputs")
    for name, cfg in made.items():
        train(cfg, outputs / name.replace(" ", "-"))
    return {name: outputs / name.replace(" ", "-") for name in made}
