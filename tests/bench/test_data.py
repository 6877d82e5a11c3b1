"""`rope-mt bench data` measures a corpus of its own, and leaves nothing of it."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rope_mt.bench import bench as bench_command
from rope_mt.bench import data
from rope_mt.bench.data import shared_again
from rope_mt.cli.main import main
from rope_mt.config.commands import BenchDataConfig


@pytest.fixture(scope="module")
def report(small_corpus, corpus_words) -> dict[str, Any]:
    """The JSON that the command prints."""
    words = [*corpus_words, f"data.dir={small_corpus.dir}/bench", "data.batch_tokens=600"]
    words += ["bench.pairs=400", "bench.batch_tokens=[600,1200]", "bench.json=true"]
    start = data._in_a_process

    def in_few_processes(measure: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
        """Only `measure_stream` changes its process, which it pins to one core; the others save a start here."""
        return start(measure, *args) if measure is data.measure_stream else measure(*args)

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(data, "_in_a_process", in_few_processes)
        assert main(["bench", "data", *words]) == 0
    return json.loads(printed.getvalue())


def test_the_data_path_is_measured_on_repeated_text(small_corpus, report):
    assert report["corpus"] == "400 pairs of files, which are 300 repeated"
    prepared, stream = report["prepare"], report["stream"]
    assert prepared["pairs"] == 400
    encoding = prepared["encoding and writing"]
    assert encoding["tokens/s"] == pytest.approx(prepared["tokens"] / encoding["seconds"])
    assert 0 < encoding["seconds"] < prepared["seconds"]
    assert stream["slots of a batch"] == 600
    assert stream["real tokens/s"] > 10 * stream["pairs/s"]
    assert stream["anonymous memory beyond torch, MB"] > 0
    assert [*report["batches"]] == ["600 slots", "1,200 slots"]
    for measured in report["batches"].values():
        assert 0.8 < measured["padding efficiency"] <= 1
        assert measured["shapes"] == 32
        assert 0 < measured["sharing a batch again"] < 0.5
    assert [*Path(small_corpus.dir, "bench").iterdir()] == []


def test_people_get_a_table(small_corpus, report, monkeypatch, capsys):
    monkeypatch.setattr(data, "measure", lambda cfg: {name: report[name] for name in report if name != "machine"})
    bench_command.bench(BenchDataConfig(data=small_corpus))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "machine"
    assert any(line.startswith("    padding efficiency") for line in lines)
    assert max(map(len, lines)) < 120


def test_sharing_counts_twos_of_pairs():
    first = [np.array([0, 1, 2]), np.array([3, 4])]
    second = [np.array([1, 2, 3]), np.array([0, 4])]
    assert shared_again(first, first, 5) == 1
    assert shared_again(first, second, 5) == pytest.approx(1 / 4)  # 1 and 2, of 01 02 12 34
    assert shared_again(first, [np.array([n]) for n in range(5)], 6) == 0


def test_without_text_the_error_says_what_to_do(here, monkeypatch, capsys):
    monkeypatch.delenv("ROPE_MT_CORPORA", raising=False)
    assert main(["bench", "data"]) == 2
    assert re.fullmatch("rope-mt: data=wmt14 is not there, nor is text to stand in [^\n]*\n", capsys.readouterr().err)


def test_preparing_is_measured_without_torch():
    """In a process of its own, whose memory torch would be most of."""
    program = "import sys, rope_mt.bench.data; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")
