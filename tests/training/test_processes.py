"""Two processes that train one model: what they share, and that a kill changes nothing.

And how they meet outside of the steps, and part when a job fails.
"""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.plain import from_plain, to_plain
from rope_mt.config.position import RopeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.runs import checkpoint
from rope_mt.training.train import train
from tests import warm

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
            search=SearchConfig(beam=1, length_penalty=0.6, max_len_a=0.0, max_len_b=3),  # so untrained, none ends
            tracking=TrackingConfig("none"),
        )
    )


def words(config: dict, folder: Path, log: str) -> list[str]:
    """What one of two processes is told."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return [str(folder / "config.json"), str(folder / "run"), str(folder / log)]


def said(folder: Path, log: str) -> list[list[str]]:
    """What each has trained on so far, a line a step."""
    files = (folder / f"{log}-{rank}" for rank in range(2))
    return [file.read_text().splitlines() if file.is_file() else [] for file in files]


@contextmanager
def both_typed(config: dict, folder: Path, log: str, workers: int = 0) -> Iterator[list[warm.Forked]]:
    """Two processes as torchrun makes them, that import nothing; like it, this one keeps their store to the end."""
    given = words({**config, "data": {**config["data"], "workers": workers}}, folder, log)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    job |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2))
    yield [warm.start(given, folder, folder / f"said-{rank['RANK']}", str(ONE), **job, **rank) for rank in ranks]


def ended(both: list[warm.Forked], folder: Path) -> None:
    for rank, process in enumerate(both):
        assert process.wait() == 0, (folder / f"said-{rank}").read_text()


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory) -> tuple[Path, list[list[str]]]:
    folder = tmp_path_factory.mktemp("straight")
    with both_typed(config, folder, "log") as both:
        ended(both, folder)
    return folder / "run", said(folder, "log")


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
        found = json.loads((run.parent / f"log-{rank}.json").read_text())
        assert found["losses"] == pytest.approx(seen.losses(), rel=1e-5)
        waits.append(found["waits"])
    # where nothing is validated
    assert not {step for found in waits for step in range(1, STEPS, 2) if found.get(str(step))}
    assert all(found[str(STEPS - 2)] for found in waits[:2])  # the first reports, and both validate
    ours, theirs = (
        [json.loads(row) for row in (r / "metrics.jsonl").read_text().splitlines()] for r in (tmp_path, run)
    )
    of_a_process = dict.fromkeys(("train/tokens_per_second", "train/padding", "train/peak_memory_mb"), 0)
    for row, same in zip(ours, theirs, strict=True):
        assert {**same, **of_a_process} == pytest.approx({**row, **of_a_process}, rel=1e-5)


def test_two_processes_that_were_killed_end_as_if_nothing_had_been(config, straight, tmp_path):
    folder = tmp_path / "killed"
    for log, workers in (("first", 2), ("second", 0)):
        with both_typed(config, folder, log, workers) as both:
            last = random.randint(1, 5)
            while len(said(folder, log)[0]) < last:
                assert [process.poll() for process in both] == [None, None], (folder / "said-0").read_text()
                time.sleep(0.01)
            for process in both:
                process.kill()
                process.wait()
    with both_typed(config, folder, "third") as both:
        ended(both, folder)
    logs = [said(folder, log) for log in ("first", "second", "third")]
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
