"""A run that is killed anywhere and typed again, against the same one left alone."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rope_mt.data.prepare import MAPS
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.training.module import TranslationModule

from ..small import rows, write_corpus

PHASES = ("prepare", "training", "validation", "checkpoint", "scoring", "eval")
MOMENT = {"prepare": 0.1, "training": 0.005, "validation": 0.03, "checkpoint": 0.01, "scoring": 0.1}  # s, the longest
STEPS, EVERY = 24, 4
# times, names of folders, and files that hold times or the number of loader workers, which changes nothing
OTHER = {"training_seconds", "validation_seconds", "scoring_seconds", "tokens_per_second", "seconds", "finished"}
OTHER |= {"train/tokens_per_second", "train/peak_memory_mb", "metrics.jsonl", "config.yaml", "checksum", "command"}
OTHER |= {"folder", "workers"}

Start = Callable[[list[str], Path, Path], Any]  # words, folder, log -> something like a subprocess.Popen


def words(text: Path, pairs: int = 120) -> list[str]:
    """A small run as words, and its text in this folder; prepared text goes to the folder in which they are typed."""
    parts = zip(("train", "valid", "test"), write_corpus(text, pairs), strict=True)
    typed = ["data=files", *(f"data.{part}={prefix}" for part, prefix in parts), "data.dir=data"]
    typed += ["data.vocab_size=450", "data.batch_tokens=1000", "tracking=none", "trainer.device=cpu"]
    typed += ["model.d_model=16", "model.d_ff=32", "model.n_heads=2", "model.n_layers=1", "model.dropout=0.1"]
    typed += ["search=greedy", "search.max_len_a=1", "search.max_len_b=5", "trainer.precision=bf16"]
    typed += [f"trainer.max_steps={STEPS}", f"trainer.val_every={EVERY}", "trainer.average=3", "trainer.log_every=1"]
    return typed


@contextmanager
def in_step(step: int, work: Callable[[], object]) -> Iterator[None]:
    """Training in this process does some work in the first batch of the step of this number, counted from 0."""
    honest = TranslationModule.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step and batch_idx % self.cfg.trainer.accumulate == 0:
            work()
        return honest(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TranslationModule, "training_step", training_step)
        yield


class KilledError(Exception):
    pass


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Training in this process dies in the step of this number, counted from 0, as if the machine had gone."""

    def die() -> None:
        raise KilledError

    with pytest.raises(KilledError), in_step(step, die):
        yield


def seeded() -> random.Random:
    """Dice that tell how to throw them again."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


@dataclass
class Typed:
    """A folder in which the commands of one run are typed; how they stand is told by what lies on the disk."""

    start: Start
    cwd: Path
    words: list[str]
    dice: random.Random = field(default_factory=seeded)
    seed: int = 1
    full: set[str] = field(default_factory=set)  # all checkpoints of steps that were seen
    before: dict[Path, int] = field(default_factory=dict)  # when what lay there had been written
    process: Any = None
    seconds: dict[str, float] = field(default_factory=dict)  # that each command takes when nobody kills it

    def __post_init__(self) -> None:
        self.cwd.mkdir(exist_ok=True)

    @property
    def run(self) -> RunFolder:
        return RunFolder(next(self.cwd.glob(f"outputs/files-*-s{self.seed}-*"), self.cwd / "none"))

    @property
    def log(self) -> Path:
        return self.cwd / f"log-{self.seed}"

    def type(self) -> None:
        watched = (self.run.metrics, self.run.average / checkpoint.MANIFEST)
        self.before = {path: path.stat().st_mtime_ns for path in watched if path.is_file()}
        self.process = self.start(["train", *self.words, f"seed={self.seed}"], self.cwd, self.log)

    def ended(self) -> bool:
        """Whether the command has, which must be well."""
        code = self.process.poll()
        assert code in (None, 0), self.log.read_text()
        return code == 0

    def finish(self) -> None:
        began = time.monotonic()
        self.type()
        assert self.process.wait(timeout=300) == 0, self.log.read_text()
        self.seconds["train"] = time.monotonic() - began

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # it has ended in this moment
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def phase(self) -> str:
        """What the command is at, or was when it died."""
        run = self.run
        if next(self.cwd.glob("data/.*.unfinished"), None):
            return "prepare"
        unfinished = [path.name for path in run.checkpoints.glob(".*")]
        if any(name.startswith(".average.") for name in unfinished) or self._new(run.average / checkpoint.MANIFEST):
            return "between" if run.result.is_file() else "scoring"
        if unfinished:
            return "checkpoint"
        if not self._new(run.metrics):  # written when training begins
            return "between"
        row = last_row(run)
        saved = (run.checkpoints / f"step-{row['step']:07d}").is_dir()
        if row["step"] % EVERY or saved or not row["step"]:
            return "training" if row["step"] < STEPS else "between"
        return "validation" if "train/loss" in row else "between"

    def _new(self, path: Path) -> bool:
        return path.is_file() and path.stat().st_mtime_ns != self.before.get(path)

    def reach(self, wanted: str) -> bool:
        """Type the command and wait until it comes to a phase, at some step; False when it has ended."""
        last = last_row(self.run)["step"]
        least = self.dice.randrange(last, max(last + 1, STEPS - 2 * EVERY)) if wanted in PHASES[1:4] else 0
        self.type()
        while self.phase() != wanted or last_row(self.run)["step"] < least:
            if self.ended():
                return False
            time.sleep(0.002)
        return True

    def kill_in(self, wanted: str) -> str | None:
        """Kill the command a moment after it has come to a phase; None when it has ended.

        Returns:
            The phase that it was in when it died.
        """
        return self._kill_after(self.dice.uniform(0, MOMENT[wanted])) if self.reach(wanted) else None

    def kill_sometime(self, longest: float) -> str | None:
        """Type the command and kill it at any moment of so many seconds."""
        self.type()
        return self._kill_after(self.dice.uniform(0, longest))

    def _kill_after(self, seconds: float) -> str | None:
        time.sleep(seconds)
        if self.ended():
            return None
        self.kill()
        if self.process.poll() == 0:
            return None
        check_files(self)
        return self.phase()

    def eval(self, kill_after: float | None = None) -> str | None:
        """What `rope-mt eval` prints of the run; None when it was killed after some seconds."""
        began, log = time.monotonic(), self.cwd / "eval"
        self.process = self.start(["eval", str(self.run.path.relative_to(self.cwd))], self.cwd, log)
        if kill_after is not None:
            time.sleep(kill_after)
            if self.process.poll() is None:
                self.kill()
                return None
        assert self.process.wait(timeout=300) == 0, log.read_text()
        self.seconds["eval"] = time.monotonic() - began
        return log.read_text()


def last_row(run: RunFolder) -> dict[str, Any]:
    """The last row that is whole."""
    return [{"step": 0}, *rows(run)][-1]


def check_files(typed: Typed) -> None:
    """Whatever has a final name is whole, and the last two checkpoints in full are there."""
    run = typed.run
    for folder in run.checkpoints.glob("[!.]*"):
        checkpoint.read(folder)
    steps = {folder.name for folder in checkpoint.saved(run)}
    typed.full |= steps
    for name in sorted(typed.full)[-2:]:
        checkpoint.read_training(run.checkpoints / name, "")
    for file in (run.identity, run.result):
        if file.is_file():
            json.loads(file.read_text())
    rows(run)
    for folder in typed.cwd.glob("data/[!.]*"):
        meta = json.loads((folder / "meta.json").read_text())
        for name, kind in MAPS.items():
            count = meta["tokens"][name[:3]] if name.endswith(".ids") else meta["kept"]
            assert (folder / name).stat().st_size == count * np.dtype(kind).itemsize
        assert not list(folder.glob(".*"))


def killed_in_turn(typed: Typed, wanted: list[str], seconds: dict[str, float]) -> Counter[str]:
    """Kill the run in these phases, and at any moment for other words, type it until it ends, and evaluate it last.

    Where the kill comes too late, a phase that there is several times is aimed at again.

    Args:
        seconds: as `Typed.seconds` of a run left alone.

    Returns:
        How many kills came in which phase.
    """
    hits: Counter[str] = Counter()
    for phase in filter(lambda phase: phase != "eval", wanted):
        hit = ""
        while hit == "" or (hit not in (phase, None) and phase in PHASES[1:4]):
            hit = typed.kill_in(phase) if phase in PHASES else typed.kill_sometime(seconds["train"])
            if hit:
                hits[hit] += 1
    typed.finish()
    for _ in range(wanted.count("eval")):
        hits["eval"] += typed.eval(kill_after=typed.dice.uniform(0.1, 0.7) * seconds["eval"]) is None
    return hits


def outcome(typed: Typed) -> dict[str, Any]:
    """All that a run leaves, and the prepared text."""
    return {**left_by(typed.run), **{file.name: file.read_bytes() for file in typed.cwd.glob("data/*/*")}}


def left_by(run: RunFolder) -> dict[str, Any]:
    """All that a run leaves in its folder."""
    last = checkpoint.latest(run)
    assert last
    return {
        **{folder.name: checkpoint.read(folder).weights for folder in run.checkpoints.iterdir()},
        **{file.name: file.read_bytes() for file in (run.test_src, run.test_ref, run.test_hyp)},
        "training": checkpoint.read_training(last, ""),
        "rows": rows(run),
        "result": json.loads(run.result.read_text()),
    }


def check_same(ours: Path, theirs: Path) -> None:
    """Two run folders hold the same to the last bit."""
    unlike = [*differences(left_by(RunFolder(ours)), left_by(RunFolder(theirs)))]
    assert unlike == []


def differences(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """The places in which two outcomes are not equal to the bit, what is in OTHER left out."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours.keys() != theirs.keys():
            yield f"{where}: {ours.keys() ^ theirs.keys()}"
        for key in ours.keys() & theirs.keys() - OTHER:
            yield from differences(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{where}: {len(ours)} and {len(theirs)}"
        for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            yield from differences(one, other, f"{where}/{number}")
    elif isinstance(ours, torch.Tensor):
        if ours.dtype != theirs.dtype or not torch.equal(ours, theirs):
            yield where
    elif ours != theirs:
        yield f"{where}: {ours!r:.80} and {theirs!r:.80}"
