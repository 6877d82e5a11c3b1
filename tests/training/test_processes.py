"""Two processes that train one model, as `torchrun` starts them: what they share, and that a kill changes nothing.

And how they meet outside of the steps, and part when a job fails.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.plain import from_plain, to_plain
from rope_mt.config.position import RopeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.runs import checkpoint
from rope_mt.training.train import train

from .watch import watching

ONE = Path(__file__).with_name("one_of_two.py")
STEPS = 14


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> dict:
    """A small run as a plain dict; an epoch of two processes has a few steps."""
    folder = tmp_path_factory.mktemp("text")
    corpus = toy.generate(n_train=120, n_valid=8, n_test=8)
    for name, pairs in (("train", corpus.train), ("valid", corpus.valid)):
        for side, lang in enumerate(("en", "de")):
            (folder / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    text = {part: str(folder / name) for part, name in (("train", "train"), ("valid", "valid"), ("test", "valid"))}
    return to_plain(
        TrainConfig(
            position=RopeConfig(),
            model=ModelConfig("test", d_model=32, d_ff=64, n_heads=2, n_layers=1, dropout=0.1),
            data=DataConfig("files", **text, vocab_size=400, batch_tokens=1000, dir=str(folder / "data")),
            optimizer=OptimizerConfig(lr=4e-3, warmup_steps=20),
            trainer=TrainerConfig(
                max_steps=STEPS, val_every=2, val_sentences=4, average=2, ema=0.8, device="cpu", precision="fp32"
            ),
            search=SearchConfig(beam=1, length_penalty=0.6),
            tracking=TrackingConfig("none"),
        )
    )


def launch(config: dict, folder: Path, dies_at: int = -1, workers: int = 0) -> list[list[str]]:
    """Run two processes until they end or die; what each trained on, a line a step."""
    config = {**config, "data": {**config["data"], "workers": workers}}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    log = folder / f"log-{dies_at}"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(ONE)]
    words = [str(folder / "config.json"), str(folder / "run"), str(dies_at), str(log)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command, *words], env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) == (dies_at < 0), done.stderr
    return [Path(f"{log}-{rank}").read_text().splitlines() for rank in range(2)]


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory) -> tuple[Path, list[list[str]]]:
    folder = tmp_path_factory.mktemp("straight")
    return folder / "run", launch(config, folder)


def test_two_processes_train_on_different_batches_in_step(straight):
    run, (first, second) = straight
    assert len(first) == len(second) == STEPS
    ours, theirs = ({line.split(" ", 1)[1] for line in log[:3]} for log in (first, second))  # of the first epoch
    assert not ours & theirs
    result = json.loads((run / "result.json").read_text())
    assert result["processes"] == 2
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(row["epoch"] for row in rows) >= 2
    # both processes' targets count, and no process writes what the first one writes
    assert result["tokens_seen"] == rows[-1]["tokens"]
    assert [row["step"] for row in rows if "valid/loss" in row] == list(range(2, STEPS + 1, 2))


def test_one_process_makes_the_same_updates_of_twice_as_many_batches(config, straight, tmp_path):
    """Of the same batches with the same dropout, to rounding."""
    run, logs = straight
    cfg = from_plain(config)
    cfg.trainer.accumulate = 2
    with watching() as seen:
        train(cfg, tmp_path)
    assert seen.batches == [line for update in zip(*logs, strict=True) for line in update]
    waits = [{str(step): times for step, times in seen.waits.items()}]
    for rank in range(2):
        found = json.loads((run.parent / f"log--1-{rank}.json").read_text())
        assert found["losses"] == pytest.approx(seen.losses(), rel=1e-5)
        waits.append(found["waits"])
    # where nothing is validated; twice a step the moving average asks for its number of steps, which is not on a device
    assert {found[str(step)] for found in waits for step in range(1, STEPS, 2)} == {2}
    assert all(found[str(STEPS - 2)] > 2 for found in waits[:2])  # the first reports, and both validate
    ours, theirs = (
        [json.loads(row) for row in (r / "metrics.jsonl").read_text().splitlines()] for r in (tmp_path, run)
    )
    of_a_process = dict.fromkeys(("train/tokens_per_second", "train/padding", "train/peak_memory_mb"), 0)
    for row, same in zip(ours, theirs, strict=True):
        assert {**same, **of_a_process} == pytest.approx({**row, **of_a_process}, rel=1e-5)


def test_two_processes_that_were_killed_end_as_if_nothing_had_been(config, straight, tmp_path):
    folder = tmp_path / "killed"
    logs = [launch(config, folder, dies_at=3, workers=2), launch(config, folder, dies_at=11), launch(config, folder)]
    run, expected = straight
    for rank in range(2):
        steps: dict[str, str] = {}
        for log in logs:  # a step that was trained twice saw the same batch twice
            for line in log[rank]:
                step, batch = line.split(" ", 1)
                assert steps.setdefault(step, batch) == batch
        assert [f"{step} {batch}" for step, batch in steps.items()] == expected[rank]
    ours, theirs = (checkpoint.read(r / f"checkpoints/step-{STEPS:07d}.ckpt") for r in (folder / "run", run))
    assert ours["rope_mt"]["tokens_seen"] == theirs["rope_mt"]["tokens_seen"]
    for kind in ("state_dict", "ema"):
        for name, weights in theirs[kind].items():
            assert torch.equal(ours[kind][name], weights), (kind, name)
    assert (folder / "run" / "test.hyp").read_bytes() == (run / "test.hyp").read_bytes()
