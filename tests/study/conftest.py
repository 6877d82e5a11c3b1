"""Finished runs of a few steps, for the analyses to read, and runs that are made up."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu
import yaml

from rope_mt.cli.main import main
from rope_mt.config.commands import TrainConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.training.train import train
from rope_mt.translation.sentence_statistics import SentenceStatistics

from ..small import small_config, write_corpus
from .made_runs import REF, SRC, Make, without_words


@pytest.fixture(scope="session")
def few_pairs(tmp_path_factory) -> Path:
    """A folder with training text, and with validation and test text that are partly longer."""
    folder = tmp_path_factory.mktemp("few")
    write_corpus(folder, n_test=17)
    return folder


def settings(folder: Path, scheme: str, seed: int = 1) -> TrainConfig:
    parts = [str(folder / name) for name in ("train", "valid", "test")]
    trainer = {"max_steps": 3, "val_every": 1, "val_sentences": 4, "log_every": 50}
    cfg = small_config(parts, folder / "data", POSITION_CONFIGS[scheme](), max_len=40, **trainer)
    cfg.seed, cfg.data.batch_tokens, cfg.search.max_len_b = seed, 600, 5
    cfg.model.d_model, cfg.model.d_ff, cfg.model.n_layers = 32, 64, 2
    return cfg


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


@pytest.fixture
def make(runs, tmp_path) -> Make:
    """Makes the folder of a finished run whose hypotheses lack a part of the references' words."""

    def made(scheme: str, seed: int, rate: float, name: str = "", tokens: int = 1_000_000, **model: object) -> str:
        folder = tmp_path / (name or f"{scheme}-{seed}")
        folder.mkdir()
        config = yaml.safe_load((runs[scheme] / "config.yaml").read_text())
        config["model"] |= model
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "average").symlink_to(runs[scheme] / "checkpoints" / "average")
        hyp = without_words(rate, seed)
        for part, lines in (("src", SRC), ("ref", REF), ("hyp", hyp)):
            (folder / f"test.{part}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        lengths = map(len, checkpoint.load(runs[scheme]).tokenizer.encode(SRC))
        statistics = SentenceStatistics.of(lengths, hyp, REF, [(20 * (2 + rate) + seed, 20)] * len(hyp))
        statistics.write(RunFolder(folder).counts("test"))
        shutil.copy(runs[scheme] / "metrics.jsonl", folder)
        result = json.loads((runs[scheme] / "result.json").read_text())
        result |= {"seed": seed, "tokens_seen": tokens}
        result["valid"]["loss"] += seed / 7
        result["test"]["bleu"] = sacrebleu.corpus_bleu(hyp, [REF]).score
        result["test"]["chrf"] = sacrebleu.corpus_chrf(hyp, [REF]).score
        write_result(RunFolder(folder), result)
        return str(folder)

    return made


@pytest.fixture
def compared(capsys) -> Callable[..., dict]:
    """What `rope-mt compare ... --json` prints."""

    def run(*words: str) -> dict:
        assert main(["compare", *words, "--json", "--buckets", "25"]) == 0
        return json.loads(capsys.readouterr().out)

    return run
