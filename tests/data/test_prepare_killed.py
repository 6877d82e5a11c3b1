"""prepare in chunks, on several threads, killed and twice at once: the same files, byte for byte."""

import dataclasses
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rope_mt.config.data import DataConfig
from rope_mt.data import prepare as preparing
from rope_mt.data.prepare import prepare

from .small_text import ENGLISH, GERMAN, MODEL, contents, documents, starts, write

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")


# ---- chunks, threads, and the sample ------------------------------------------------------------------------------

CHUNK = 60


@pytest.fixture
def rich(tmp_path) -> DataConfig:
    """Text with all that is carried from one chunk to the next: gaps and documents on its border, and duplicates."""
    english = [f"The {n} old dogs see the {n + 1} cats ." for n in range(300)]
    german = [f"Die {n} alten Hunde sehen die {n + 1} Katzen ." for n in range(300)]
    for n in (59, 130, 299):
        german[n] = ""
    for n in (119, 200):
        english[n] = "1 " * 1100
    for n in (75, 160, 180, 295):
        english[n], german[n] = english[20], german[20]
    train = write(tmp_path / "text" / "rich", english, german)
    documents(train, (1, 50), (51, 130), (181, 70), (251, 50))
    return DataConfig("rich", train, train, train, vocab_size=320, dir=str(tmp_path / "rich"), drop_duplicates=True)


@pytest.fixture
def undisturbed(rich, tmp_path) -> dict[str, bytes]:
    """What a run that nobody disturbs makes of it, in one chunk."""
    prepared = prepare(dataclasses.replace(rich, dir=str(tmp_path / "undisturbed")))
    assert prepared.meta["dropped"] == {"empty": 3, "too long": 2, "duplicate": 4}
    gone = {59, 130, 299, 119, 200, 75, 160, 180, 295}
    kept = [n for n in range(300) if n not in gone]
    expected = [i for i, n in enumerate(kept) if n in (0, 50, 180, 250) or n - 1 in gone]
    assert starts(prepared) == expected
    return contents(prepared.folder)


@pytest.mark.parametrize("chunk", [1, 7, CHUNK, 299, 300, 301])
@pytest.mark.parametrize("cores", [1, 3])
def test_neither_the_size_of_chunks_nor_the_number_of_threads_changes_a_file(
    rich, undisturbed, monkeypatch, chunk, cores
):
    monkeypatch.setattr(preparing, "CHUNK", chunk)
    monkeypatch.setattr(preparing, "cores", lambda: cores)
    assert contents(prepare(rich).folder) == undisturbed


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_of_large_text_the_tokenizer_sees_a_sample_spread_over_all_of_it(cfg, tmp_path, monkeypatch, capsys, kind):
    every = 40 * ENGLISH
    cfg.tokenizer, cfg.train = kind, [write(tmp_path / "text" / "large", every, [f"{n} x" for n in range(8000)])]
    seen: list[list[str]] = []

    def train(sentences, vocab_size, how):
        assert (vocab_size, how) == (310, kind)
        seen.append(list(sentences))
        return MODEL

    monkeypatch.setattr(preparing, "train_tokenizer", train)
    monkeypatch.setattr(preparing, "SAMPLE", {"bpe": 100_000, "unigram": 100_000, kind: 1000})
    for folder in ("once", "again"):
        assert prepare(dataclasses.replace(cfg, dir=str(tmp_path / folder))).meta["kept"] == 8000
    assert seen[0] == seen[1]
    assert 900 <= len(seen[0]) <= 1000
    targets = [int(line.split()[0]) for line in seen[0][1::2]]
    assert [every[n] for n in targets] == seen[0][::2]
    assert len(set(np.diff(targets))) == 1
    assert targets[0] < 100
    assert targets[-1] > 7900
    assert "training 310 pieces on 1,000 lines" in capsys.readouterr().err


def test_of_small_text_the_tokenizer_sees_every_kept_line(cfg, tmp_path, monkeypatch, capsys):
    seen: list[str] = []
    monkeypatch.setattr(preparing, "train_tokenizer", lambda sentences, *_: seen.extend(sentences) or MODEL)
    cfg.train = [write(tmp_path / "text" / "gap", ["", *ENGLISH], ["x", *GERMAN])]
    prepare(cfg)
    assert seen == list(itertools.chain.from_iterable(zip(ENGLISH, GERMAN, strict=True)))
    assert "training" not in capsys.readouterr().err


# ---- killed, and two at once --------------------------------------------------------------------------------------


class KilledError(BaseException):
    """What no line of the project catches."""


class Steps:
    """All calls that bring something to the disk or give it its name; the process dies before number `last`."""

    def __init__(self, patch: pytest.MonkeyPatch, last: int | None = None) -> None:
        self.done: list[tuple[str, str]] = []
        for name in ("fsync", "replace", "rename"):
            patch.setattr(os, name, self._counted(name, getattr(os, name), last))

    def _counted(self, name, real, last):
        def step(*args):
            if len(self.done) == last:
                raise KilledError
            self.done.append((name, Path(args[-1]).name if name != "fsync" else ""))
            return real(*args)

        return step


class Work:
    """How often the tokenizer was trained, and how many chunks were encoded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        for name in ("train_tokenizer", "_encode_chunk"):
            patch.setattr(preparing, name, self._counted(name, getattr(preparing, name)))

    def _counted(self, name, real):
        def call(*args):
            self.calls[name] += 1
            return real(*args)

        return call


def visible(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if not path.name.startswith(".")]


def test_a_prepare_killed_at_any_step_goes_on_where_it_was(rich, undisturbed, monkeypatch, tmp_path):
    monkeypatch.setattr(preparing, "CHUNK", CHUNK)
    chunks = 5
    for last in itertools.count():
        cfg = dataclasses.replace(rich, dir=str(tmp_path / f"killed-{last}"))
        with monkeypatch.context() as patch:
            steps = Steps(patch, last)
            try:
                prepare(cfg)
            except KilledError:
                killed = True
            else:
                killed = False
        assert len(steps.done) == last
        finished = any(name == "rename" for name, _ in steps.done)
        assert bool(visible(cfg.dir)) == finished
        with monkeypatch.context() as patch:
            work = Work(patch)
            folder = prepare(cfg).folder
        assert contents(folder) == undisturbed
        assert list(Path(cfg.dir).iterdir()) == [folder]
        assert work.calls["train_tokenizer"] == (("replace", "sentencepiece.model") not in steps.done)
        assert work.calls["_encode_chunk"] == chunks - steps.done.count(("replace", "progress.json"))
        if not killed:
            break
    assert last > 6 * chunks


DRIVER = """
import json, os, signal, sys, time
from pathlib import Path

from rope_mt.config.data import DataConfig
from rope_mt.data import prepare

settings, chunk, die_at, wait_for = json.loads(sys.argv[1])
prepare.CHUNK = chunk
steps = 0


def counted(real):
    def step(*args):
        global steps
        if steps == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        while wait_for and not Path(wait_for).exists():
            time.sleep(0.01)
        return real(*args)

    return step


os.fsync, os.replace, os.rename = map(counted, (os.fsync, os.replace, os.rename))
print(prepare.prepare(DataConfig(**settings)).folder)
"""


def driver(cfg: DataConfig, die_at: int | None = None, wait_for: str = "") -> subprocess.Popen[str]:
    """`prepare` in a process of its own, which kills itself before a step, or takes none before a file is there."""
    passed = ("name", "train", "valid", "test", "vocab_size", "dir", "drop_duplicates")
    given = [{name: getattr(cfg, name) for name in passed}, CHUNK, die_at, wait_for]
    command = [sys.executable, "-c", DRIVER, json.dumps(given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("when", "rest"),
    [
        (("replace", "progress.json", 3), 3),  # the third chunk is written, the note of it is not yet
        (("rename", "", 1), 0),
    ],
    ids=["third-note", "name"],
)
def test_a_prepare_that_is_killed_for_good_goes_on_where_it_was(rich, undisturbed, monkeypatch, tmp_path, when, rest):
    monkeypatch.setattr(preparing, "CHUNK", CHUNK)
    name, file, number = when
    with monkeypatch.context() as patch:
        steps = Steps(patch)
        prepare(dataclasses.replace(rich, dir=str(tmp_path / "counted")))
    places = [n for n, step in enumerate(steps.done) if step[0] == name and file in step[1]]
    with driver(rich, die_at=places[number - 1]) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (-signal.SIGKILL, "", "")
    assert visible(rich.dir) == []
    with monkeypatch.context() as patch:
        work = Work(patch)
        folder = prepare(rich).folder
    assert work.calls["_encode_chunk"] == rest
    assert contents(folder) == undisturbed
    assert list(Path(rich.dir).iterdir()) == [folder]


def test_of_two_at_once_one_waits_and_says_so_and_both_have_the_same_whole_folder(rich, undisturbed, tmp_path):
    go = tmp_path / "go"
    with driver(rich, wait_for=str(go)) as first:
        while not (Path(rich.dir).is_dir() and list(Path(rich.dir).glob(".*/.sentencepiece.*"))):
            assert first.poll() is None
            time.sleep(0.01)
        with driver(rich) as second:
            said = second.stderr.readline()
            assert re.match(
                rf"waiting for another rope-mt \(.+, process {first.pid}, since .+\) that is at work in ", said
            )
            assert visible(rich.dir) == []
            go.touch()
            outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    [folder] = Path(rich.dir).iterdir()
    assert outputs == [(f"{folder}\n", ""), (f"{folder}\n", "")]
    assert contents(folder) == undisturbed


def test_the_one_that_waited_goes_on_when_the_other_is_killed(rich, undisturbed, tmp_path):
    with driver(rich, wait_for=str(tmp_path / "never")) as first:
        while not (Path(rich.dir).is_dir() and list(Path(rich.dir).glob(".*/.sentencepiece.*"))):
            assert first.poll() is None
            time.sleep(0.01)
        with driver(rich) as second:
            assert "waiting" in second.stderr.readline()
            first.kill()
            out, err = second.communicate(timeout=60)
    assert (second.returncode, err) == (0, "")
    [folder] = Path(rich.dir).iterdir()
    assert out == f"{folder}\n"
    assert contents(folder) == undisturbed
