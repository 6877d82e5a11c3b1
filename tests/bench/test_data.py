"""`rope-mt bench data`: it measures what it says, on a corpus of its own, and leaves nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rope_mt.bench import bench as bench_command
from rope_mt.bench import data
from rope_mt.bench.data import efficiency, shared_again
from rope_mt.config.commands import BenchDataConfig
from rope_mt.config.data import DataConfig

from .. import warm


def bench(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [warm.command(), "bench", "data", *words], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def found(folder) -> dict[str, Any]:
    settings = ("data=toy", "bench.pairs=25000", "bench.batch_tokens=[2048,4096]", "bench.json=true")
    return json.loads(bench(folder, *settings))


def test_the_data_path_is_measured_on_repeated_text(folder, found):
    assert found["corpus"] == "25,000 pairs of toy, which are 20,000 repeated"
    prepared, stream = found["prepare"], found["stream"]
    assert prepared["pairs"] == 25_000
    assert prepared["encoding and writing"]["tokens/s"] == pytest.approx(
        prepared["tokens"] / prepared["encoding and writing"]["seconds"]
    )
    assert 0 < prepared["encoding and writing"]["seconds"] < prepared["seconds"]
    assert stream["slots of a batch"] == 2048
    assert stream["real tokens/s"] > 10 * stream["pairs/s"]
    assert [*found["batches"]] == ["2,048 slots", "4,096 slots"]
    for measured in found["batches"].values():
        assert 0.8 < measured["padding efficiency"] <= 1
        assert 0 < measured["sharing a batch again"] < 0.5
    assert [path.name for path in (folder / "data").iterdir()] == ["toy"]


def test_it_prints_a_table_for_people(found, monkeypatch, capsys):
    monkeypatch.setattr(data, "measure", lambda cfg: {name: found[name] for name in found if name != "machine"})
    bench_command.bench(BenchDataConfig(data=DataConfig("files", "a", "a", "a")))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "machine"
    assert any(line.startswith("    padding efficiency") for line in said)
    assert max(map(len, said)) < 120


def test_efficiency_is_real_tokens_over_slots():
    src, tgt = np.array([2, 4, 3]), np.array([5, 1, 3])
    assert efficiency([np.array([0, 1]), np.array([2])], src, tgt, most=100) == pytest.approx(18 / (2 * 9 + 6))


def test_sharing_counts_twos_of_examples():
    first = [np.array([0, 1, 2]), np.array([3, 4])]
    second = [np.array([1, 2, 3]), np.array([0, 4])]
    assert shared_again(first, first, 5) == 1
    assert shared_again(first, second, 5) == pytest.approx(1 / 4)  # 1 and 2, of 01 02 12 34
    assert shared_again(first, [np.array([n]) for n in range(5)], 6) == 0


def test_without_text_it_says_what_to_do(folder, monkeypatch):
    monkeypatch.delenv("ROPE_MT_CORPORA", raising=False)
    done = subprocess.run([warm.command(), "bench", "data"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("rope-mt: data=wmt14 is not there, nor is text to stand in for it")
    assert len(done.stderr.splitlines()) == 1


def test_preparing_is_measured_without_torch():
    """In a process of its own, whose memory torch would be most of."""
    found = "import sys, rope_mt.bench.data, rope_mt.bench.machine; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")
