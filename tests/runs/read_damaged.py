"""Files that a run leaves, damaged in every way, each read again by what really reads it, in a process of its own."""

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import RopeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import prepare as preparing
from rope_mt.data import toy
from rope_mt.data.prepared import MAPS
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint, exported
from rope_mt.runs.folder import RunFolder, open_run
from rope_mt.runs.tracking import where
from rope_mt.study.finished_runs import read_runs
from rope_mt.study.run_files import hypotheses, loss_curve, statistics, texts
from rope_mt.sweep.ledger import FAILED, Ledger
from rope_mt.training.resuming import read_full
from rope_mt.training.train import train
from rope_mt.translation.test_sets import own_test_set

from .damages import HOSTILE, damages

SECONDS, MEMORY = 30, 3 << 30  # that reading one file may take; bytes beside what the process has already


class KilledError(BaseException):
    pass


def make_site(site: Path) -> TrainConfig:
    """A finished run, its prepared text, one that is half prepared, an exported model, and a sweep's entry."""
    texts = site / "text"
    texts.mkdir(parents=True)
    corpus = toy.generate(n_train=120, n_valid=4, n_test=6)
    for name, pairs in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        for side, lang in enumerate(("en", "de")):
            (texts / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    os.chdir(site)  # what is written there names no other folder: the site is copied
    cfg = TrainConfig(
        seed=1,
        position=RopeConfig(),
        model=ModelConfig("test", d_model=16, d_ff=32, n_heads=2, n_layers=1, dropout=0.1),
        data=DataConfig("files", *(f"text/{n}" for n in ("train", "valid", "test")), vocab_size=450, batch_tokens=900),
        optimizer=OptimizerConfig(lr=4e-3, warmup_steps=5),
        trainer=TrainerConfig(max_steps=4, val_every=2, val_sentences=2, log_every=1, device="cpu", precision="fp32"),
        search=SearchConfig(beam=1, length_penalty=0.6, max_len_a=0.2, max_len_b=3),
        tracking=TrackingConfig("none"),
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train(cfg, Path("run"))
    exported.write(Path("exported"), checkpoint.load(Path("run")))
    Ledger(Path("sweep")).start(["seed=1", "seed=2"])
    honest, chunk = preparing.write_manifest, preparing.CHUNK

    def stop_after_two(path: Path, value: dict[str, Any], files: list[Path]) -> None:
        honest(path, value, files)
        if value.get("progress", {}).get("lines") == 80:
            raise KilledError

    preparing.write_manifest, preparing.CHUNK = stop_after_two, 40
    try:
        with contextlib.suppress(KilledError), contextlib.redirect_stderr(io.StringIO()):
            preparing.prepare(half_prepared(cfg))
    finally:
        preparing.write_manifest, preparing.CHUNK = honest, chunk
    return cfg


def half_prepared(cfg: TrainConfig) -> DataConfig:
    return replace(cfg.data, dir="half")


# ---- what reads each file --------------------------------------------------------------------------------------------


def _tensors(values: Any) -> Any:
    """Plain values with the bits of tensors in their place."""
    if isinstance(values, torch.Tensor):
        return str(values.dtype), tuple(values.shape), values.numpy().tobytes()
    if isinstance(values, dict):
        return {name: _tensors(value) for name, value in values.items()}
    return [_tensors(value) for value in values] if isinstance(values, list | tuple) else values


def _full(path: Path, cfg: TrainConfig) -> Any:
    values = read_full(path)
    checkpoint.from_values(values, path)
    return _tensors(values)


def _weights(path: Path, cfg: TrainConfig) -> Any:
    found = checkpoint.load(path)
    return found.config, found.tokenizer.model, _tensors(found.weights), found.step


def _exported(path: Path, cfg: TrainConfig) -> Any:
    found = exported.read(path.parent)
    return found.config, found.tokenizer.model, _tensors(found.weights), found.step


def _prepared(path: Path, cfg: TrainConfig) -> Any:
    found = preparing.prepare(cfg.data)
    return found.tokenizer().model, {name: found.map(name).tobytes() for name in MAPS}, found.meta


def _begun(path: Path, cfg: TrainConfig) -> Any:
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with contextlib.redirect_stderr(io.StringIO()):
        folder = preparing.prepare(half_prepared(cfg)).folder
    made = {file.name: file.read_bytes() for file in folder.iterdir()}
    shutil.rmtree(folder)
    path.parent.mkdir()
    for file, data in before.items():
        file.write_bytes(data)
    return made


def _run(path: Path, cfg: TrainConfig) -> Any:
    [run], _ = read_runs([path.parent])
    return run.result, run.config, texts([run]), statistics(run), hypotheses(run), loss_curve(run)


def _own_test_set(path: Path, cfg: TrainConfig) -> Any:
    return own_test_set(path.parent, checkpoint.load(path.parent))


def _identity(path: Path, cfg: TrainConfig) -> Any:
    run = RunFolder(path.parent)
    open_run(run, cfg, json.loads(run.result.read_text())["key"])
    return where(run.path)


def _entries(path: Path, cfg: TrainConfig) -> Any:
    found = Ledger(path.parents[1]).entries()
    for entry in found:
        if entry.state == FAILED:
            raise UserError(entry.error)
    return found


Read = Callable[[Path, TrainConfig], Any]


def files(site: Path) -> dict[str, tuple[Path, Read]]:
    """The files by kind, and what reads each."""
    [data] = [path for path in (site / "data").iterdir() if path.name[0] != "."]
    [begun] = (site / "half").iterdir()
    run = site / "run"
    return {
        "full checkpoint": (run / "checkpoints" / "step-0000004.ckpt", _full),
        "weights": (run / "checkpoints" / "weights-0000004.ckpt", _weights),
        "average": (run / "checkpoints" / "average.ckpt", _weights),
        "meta.json": (data / "meta.json", _prepared),
        **{name: (data / name, _prepared) for name in (*MAPS, "sentencepiece.model")},
        "unfinished progress.json": (begun / "progress.json", _begun),
        **{n: (run / n, _run) for n in ("config.yaml", "result.json", "metrics.jsonl")},
        **{n: (run / n, _run) for n in ("test.hyp", "test.ref", "test.counts")},
        "test.src": (run / "test.src", _own_test_set),
        "run.json": (run / "run.json", _identity),
        **{f"exported {name}": (site / "exported" / name, _exported) for name in exported.FILES},
        "sweep's entry": (site / "sweep" / "jobs" / "00001.json", _entries),
    }


# ---- judging ---------------------------------------------------------------------------------------------------------

FINE = ("refused", "equal", "accepted", "not made")  # accepted: what somebody wrote who makes every check sum right


@dataclass(frozen=True)
class Outcome:
    kind: str  # of the file
    number: int
    how: str
    what: str  # refused, equal, accepted (of a hostile file), or what is wrong


def judge(site: Path, cfg: TrainConfig, kind: str, number: int, hostile: bool, unharmed: str) -> Outcome:
    """Damage a file, read it, and put it back."""
    dice = random.Random(f"{kind} {number} {hostile}")
    path, read = files(site)[kind]
    kept = {file: file.read_bytes() for file in {path, site / "run" / "run.json", site / "run" / "result.json"}}
    how = dice.choice(HOSTILE[kind] if hostile else damages(path))
    try:
        if hostile:
            try:
                how(path, dice)
            except Exception:  # what cannot be written is no file
                return Outcome(kind, number, how.__name__, "not made")
        else:
            data = bytearray(kept[path])
            how(data, dice)
            path.write_bytes(data)
        try:
            found = repr(read(path, cfg))
        except UserError as error:
            said = str(error)
            named = "\n" not in said and (path.name in said or str(path.parent.name) in said)
            return Outcome(kind, number, how.__name__, "refused" if named else f"says {said!r}")
        except BaseException as error:
            return Outcome(kind, number, how.__name__, f"{type(error).__name__}: {error}"[:300])
        same = "equal" if found == unharmed else "accepted" if hostile else "taken for right"
        return Outcome(kind, number, how.__name__, same)
    finally:
        for file, content in kept.items():
            file.write_bytes(content)


def judged(site: Path, cfg: TrainConfig, orders: list[tuple[str, int, bool]]) -> Iterator[Outcome]:
    """The same for many, in processes that are forked from this one: one that dies counts as an outcome."""
    left = list(orders)
    while left:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _judge_all(site, cfg, left, writer)
        os.close(writer)
        done = 0
        with open(reader, "rb") as pipe:
            while len(head := pipe.read(4)) == 4:
                yield pickle.loads(pipe.read(struct.unpack("<I", head)[0]))
                done += 1
        _, status = os.waitpid(child, 0)
        left = left[done:]
        if left and status:
            kind, number, hostile = left.pop(0)
            signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            name = "hung" if signalled == signal.SIGALRM else f"died ({signalled or status})"
            yield Outcome(kind, number, "hostile" if hostile else "damaged", name)


def _judge_all(site: Path, cfg: TrainConfig, orders: list[tuple[str, int, bool]], writer: int) -> None:
    status = 1
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        own = site.with_name(f"{site.name}-{os.getpid()}")
        shutil.copytree(site, own)
        os.chdir(own)
        unharmed = {}
        for kind, number, hostile in orders:
            signal.alarm(SECONDS)  # ends what hangs on the file as it was, too
            if kind not in unharmed:
                path, read = files(own)[kind]
                unharmed[kind] = repr(read(path, cfg))
            outcome = pickle.dumps(judge(own, cfg, kind, number, hostile, unharmed[kind]))
            signal.alarm(0)
            os.write(writer, struct.pack("<I", len(outcome)) + outcome)
        status = 0
    finally:
        os._exit(status)


def orders(site: Path, damaged: int, hostile: int) -> list[tuple[str, int, bool]]:
    """So many of each, the kinds of files in turn."""
    kinds, owned = [*files(site)], [*HOSTILE]
    found = [(kinds[n % len(kinds)], n // len(kinds), False) for n in range(damaged)]
    return found + [(owned[n % len(owned)], n // len(owned), True) for n in range(hostile)]


def table(outcomes: list[Outcome]) -> str:
    """A line a kind of file: how often each outcome was."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        told = outcome.what if outcome.what in FINE else "WRONG"
        hostile = outcome.how in {how.__name__ for ways in HOSTILE.values() for how in ways}
        counts.setdefault(f"{outcome.kind}{' (hostile)' * hostile}", Counter())[told] += 1
    return "\n".join(f"{kind:<36}{dict(count)}" for kind, count in sorted(counts.items()))


def wrong(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.what not in FINE]
