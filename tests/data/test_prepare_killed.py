"""prepare in chunks, on several threads, killed, twice at once, on a full disk: the same files, byte for byte."""

import dataclasses
import itertools
import os
import re
import signal
import time
from pathlib import Path

import pytest

from rope_mt.config.data import DataConfig
from rope_mt.data import prepare as preparing
from rope_mt.data import toy
from rope_mt.data.prepare import prepare
from rope_mt.errors import UserError
from rope_mt.system import disk as space

from .. import warm
from .small_text import ENGLISH, GERMAN, MODEL, contents, documents, starts, write

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")


# ---- chunks, threads, and the sample ------------------------------------------------------------------------------

CHUNK = 120


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


@pytest.mark.parametrize(("chunk", "cores"), [(7, 1), (CHUNK, 3), (300, 3), (301, 1)])
def test_neither_size_of_chunks_nor_number_of_threads_changes_a_file(rich, undisturbed, monkeypatch, chunk, cores):
    monkeypatch.setattr(preparing, "CHUNK", chunk)
    monkeypatch.setattr(preparing, "cores", lambda: cores)
    assert contents(prepare(rich).folder) == undisturbed


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_tokenizer_sees_every_kept_line_or_a_sample_spread_over_all_of_it(cfg, tmp_path, monkeypatch, capsys, kind):
    seen: list[list[str]] = []
    monkeypatch.setattr(preparing, "train_tokenizer", lambda sentences, *_: seen.append([*sentences]) or MODEL)
    monkeypatch.setattr(preparing, "SAMPLE", {"bpe": 100_000, "unigram": 100_000, kind: 1000})
    cfg.train = [write(tmp_path / "text" / "gap", ["", *ENGLISH], ["x", *GERMAN])]
    prepare(cfg)
    assert seen.pop() == list(itertools.chain.from_iterable(zip(ENGLISH, GERMAN, strict=True)))
    assert "training" not in capsys.readouterr().err
    every = 40 * ENGLISH
    cfg.tokenizer, cfg.train = kind, [write(tmp_path / "text" / "large", every, [f"{n} x" for n in range(8000)])]
    assert prepare(cfg).meta["kept"] == 8000
    targets = [int(line.split()[0]) for line in seen[0][1::2]]
    assert [every[n] for n in targets] == seen[0][::2]
    assert targets == [*range(0, 8000, 16)]
    assert "training 310 pieces on 1,000 lines" in capsys.readouterr().err


# ---- killed, and two at once --------------------------------------------------------------------------------------


class KilledError(BaseException):
    """Nothing in the project catches it."""


class Steps:
    """All calls that bring something to the disk or give it its name; the process dies before number `last`."""

    def __init__(self, patch: pytest.MonkeyPatch, last: int) -> None:
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


def visible(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if not path.name.startswith(".")]


def test_a_prepare_killed_at_any_step_ends_as_one_left_alone(rich, undisturbed, monkeypatch, tmp_path):
    """The tokenizer is not trained again once it is on the disk."""
    monkeypatch.setattr(preparing, "CHUNK", CHUNK)
    trained: list[bytes] = []
    model = undisturbed["sentencepiece.model"]
    monkeypatch.setattr(preparing, "train_tokenizer", lambda *_: trained.append(model) or model)
    for last in itertools.count():
        cfg = dataclasses.replace(rich, dir=str(tmp_path / f"killed-{last}"))
        killed = False
        with monkeypatch.context() as patch:
            steps = Steps(patch, last)
            try:
                prepare(cfg)
            except KilledError:
                killed = True
        assert len(steps.done) == last
        assert bool(visible(cfg.dir)) == any(name == "rename" for name, _ in steps.done)
        trained.clear()
        folder = prepare(cfg).folder
        assert contents(folder) == undisturbed
        assert list(Path(cfg.dir).iterdir()) == [folder]
        assert bool(trained) == (("replace", "sentencepiece.model") not in steps.done)
        if not killed:
            break
    assert last > 12


def test_of_three_at_once_two_wait_and_when_one_is_killed_one_of_them_does_the_work(rich, undisturbed, tmp_path):
    [train] = rich.train
    words = ["prepare", "data=files", "data.name=rich", "data.vocab_size=320", "data.drop_duplicates=true"]
    words += [f"data.dir={rich.dir}", *(f"data.{part}={train}" for part in ("train", "valid", "test"))]
    logs = [tmp_path / f"log-{n}" for n in range(3)]
    first = warm.start(words, tmp_path, logs[0], slow_disk=60.0)  # which writes nothing before it is killed
    while not list(Path(rich.dir).glob(".*/.sentencepiece.*")):
        assert first.poll() is None
        time.sleep(0.01)
    others = [warm.start(words, tmp_path, log) for log in logs[1:]]
    waiting = rf"waiting for another rope-mt \(.+, process {first.pid}, since .+\) that is at work in "
    while not all(re.search(waiting, log.read_text()) for log in logs[1:]):
        assert [other.poll() for other in others] == [None, None]
        time.sleep(0.01)
    assert visible(rich.dir) == []
    os.kill(first.pid, signal.SIGKILL)
    assert [other.wait() for other in others] == [0, 0]
    [folder] = Path(rich.dir).iterdir()
    assert contents(folder) == undisturbed


# ---- a full disk --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disk", ["played"], indirect=True)
def test_prepare_goes_on_from_every_full_disk_to_the_same_files(cfg, disk, monkeypatch):
    reference = contents(prepare(dataclasses.replace(cfg, dir=f"{cfg.dir}-whole")).folder)
    monkeypatch.setattr(preparing, "CHUNK", 50)
    monkeypatch.setattr(space, "ensure", lambda *args: "others fill the disk later")
    cfg.dir = str(disk.path / "data")
    named, prepared = set(), None
    for room in range(500, 100_000, 500):
        disk.leave(room)
        try:
            prepared = prepare(cfg)
            break
        except UserError as error:
            line = rf"cannot write {cfg.dir}/\.files-\w+\.unfinished/(\S+): {os.strerror(28)}; it needs \S+ \w+, .*"
            message = re.fullmatch(line, str(error))
            assert message
            named.add(message[1])
            assert visible(cfg.dir) == []
    assert {"sentencepiece.model", "src.ids", "tgt.ids"} <= named, named
    assert prepared
    assert contents(prepared.folder) == reference


def test_prepare_says_that_it_needs_a_little_more_than_it_makes(cfg, tmp_path, monkeypatch):
    corpus = toy.generate(n_train=600, n_valid=1, n_test=1)
    prefix = write(tmp_path / "text" / "toy", *map(list, zip(*corpus.train, strict=True)), suffix=".xz")
    packed = dataclasses.replace(cfg, name="toy", train=[prefix], vocab_size=800)
    needed, honest = [], space.ensure
    monkeypatch.setattr(space, "ensure", lambda *args: needed.append(args[2]) or honest(*args))
    for settings in (cfg, packed):
        made = sum(len(content) for content in contents(prepare(settings).folder).values())
        assert made <= needed[-1] < 1.3 * made


def test_prepare_is_refused_where_there_is_no_room_and_leaves_nothing(cfg, disk):
    cfg.dir = str(disk.path / "data")
    disk.leave(5_000)
    with pytest.raises(UserError, match=r"^preparing data=files takes up to \S+ kB of disk in .* data\.dir=FOLDER$"):
        prepare(cfg)
    assert not Path(cfg.dir).exists()
    disk.make_room()
    prepare(cfg)
