"""Damages every kind of file that a run leaves, and reads it again by the function that really reads it."""

import contextlib
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rope_mt.config.commands import TrainConfig
from rope_mt.data import prepare as preparing
from rope_mt.data.prepared import MAPS
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder, open_run
from rope_mt.study.finished_runs import read_runs
from rope_mt.study.report.samples import texts
from rope_mt.sweep.ledger import FAILED, Ledger
from rope_mt.training.train import train
from rope_mt.translation.scored_sets import own_test_set

from ..small import small_config, write_corpus

# ---- damages ---------------------------------------------------------------------------------------------------------


def flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def overwrite(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    n = min(dice.choice([1, 4, 16, 512]), len(data) - at)
    data[at : at + n] = dice.choice([bytes(n), b"\xff" * n, dice.randbytes(n)])


def truncate(data: bytearray, dice: random.Random) -> None:
    del data[dice.choice([0, 1, len(data) // 2, len(data) - 1, dice.randrange(len(data))]) :]


def insert(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.randbytes(dice.choice([1, 8, 4096]))


def delete(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    del data[at : at + dice.choice([1, 8, 512])]


VALUES = ["-1", "1e999", "NaN", "9" * 5_000, "null", "[]", "{}", '"\\ud800"', "true", "0.5", "[" * 20_000, '""']
VALUES += ['"${oc.env:HOME}"', '{"_target_": "os.system"}', "1000000000000000000"]


def other_value(data: bytearray, dice: random.Random) -> None:
    """Replace the value of one key of a JSON or YAML file by one of another type or size."""
    lines = bytes(data).decode(errors="surrogateescape").split("\n")
    n = dice.choice([n for n, line in enumerate(lines) if ": " in line])
    head, _, tail = lines[n].partition(": ")
    lines[n] = f"{head}: {dice.choice(VALUES)}{',' if tail.endswith(',') else ''}"
    data[:] = "\n".join(lines).encode(errors="surrogateescape")


ANYWHERE = (flip, flip, overwrite, truncate, insert, delete)


def damages_of(path: Path) -> tuple[Callable[[bytearray, random.Random], None], ...]:
    return (*ANYWHERE, other_value, other_value) if path.suffix in (".json", ".yaml") else ANYWHERE


# ---- the files, and the functions that read them ---------------------------------------------------------------------


def make_site(site: Path) -> TrainConfig:
    """A finished run, its prepared text, and a sweep's entry, in this folder, which is the current one."""
    cfg = small_config(write_corpus(site / "text", n_valid=4, n_test=6), "data")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train(cfg, Path("run"))
    Ledger(Path("sweep")).start(["seed=1", "seed=2"])
    return cfg


def _checkpoint(path: Path, cfg: TrainConfig) -> Any:
    ckpt = checkpoint.read(path.parent)
    weights = {name: tensor.tolist() for name, tensor in ckpt.weights.items()}
    training = checkpoint.read_training(path.parent, "") if (path.parent / checkpoint.TRAINING).is_file() else None
    return ckpt.config, ckpt.tokenizer.model, weights, ckpt.step, str(training)


def _prepared(path: Path, cfg: TrainConfig) -> Any:
    prepared = preparing.prepare(cfg.data)
    return prepared.tokenizer().model, {name: prepared.map(name).tobytes() for name in MAPS}, prepared.meta


def _run(path: Path, cfg: TrainConfig) -> Any:
    [run], _ = read_runs([path.parent])
    return run.result, run.config, texts([run]), run.statistics(), run.hypotheses(), run.curves()


def _test_set(path: Path, cfg: TrainConfig) -> Any:
    return own_test_set(path.parent, checkpoint.load(path.parent))


def _identity(path: Path, cfg: TrainConfig) -> Any:
    run = RunFolder(path.parent)
    open_run(run, cfg, json.loads(run.result.read_text())["key"])
    return json.loads(path.read_bytes())  # without the line end, it is still the same


def _entries(path: Path, cfg: TrainConfig) -> Any:
    entries = Ledger(path.parents[1]).entries()
    for entry in entries:
        if entry.state == FAILED:
            raise UserError(entry.error)
    return entries


Read = Callable[[Path, TrainConfig], Any]


def files(site: Path) -> dict[str, tuple[Path, Read]]:
    """The files by kind, each with the function that reads it."""
    [data] = [path for path in (site / "data").iterdir() if path.name[0] != "."]
    run = site / "run"
    last, average = run / "checkpoints" / "step-0000004", run / "checkpoints" / "average"
    names = (checkpoint.WEIGHTS, checkpoint.TRAINING, checkpoint.TOKENIZER, checkpoint.MANIFEST)
    return {
        **{f"step {name}": (last / name, _checkpoint) for name in names},
        **{f"average {name}": (average / name, _checkpoint) for name in names if name != checkpoint.TRAINING},
        **{name: (data / name, _prepared) for name in (*MAPS, "meta.json", "sentencepiece.model")},
        **{name: (run / name, _run) for name in ("config.yaml", "result.json", "metrics.jsonl")},
        **{name: (run / name, _run) for name in ("test.hyp", "test.ref", "test.counts")},
        "test.src": (run / "test.src", _test_set),
        "run.json": (run / "run.json", _identity),
        "sweep's entry": (site / "sweep" / "jobs" / "00001.json", _entries),
    }


# ---- judging ---------------------------------------------------------------------------------------------------------

FINE = ("refused", "equal")


@dataclass(frozen=True)
class Outcome:
    kind: str  # of file
    number: int
    damage: str
    verdict: str  # refused, equal, or what went wrong


def judged(site: Path, cfg: TrainConfig, n: int) -> Iterator[Outcome]:
    """Damage n files, the kinds in turn, read each, and put it back."""
    kinds = files(site)
    unharmed = {kind: repr(read(path, cfg)) for kind, (path, read) in kinds.items()}
    for number in range(n):
        kind = [*kinds][number % len(kinds)]
        path, read = kinds[kind]
        dice = random.Random(f"{kind} {number}")
        damage, content = dice.choice(damages_of(path)), path.read_bytes()
        data = bytearray(content)
        damage(data, dice)
        path.write_bytes(data)
        try:
            verdict = "equal" if repr(read(path, cfg)) == unharmed[kind] else "taken for right"
        except UserError as error:
            message = str(error)
            named = "\n" not in message and (path.name in message or path.parent.name in message)
            verdict = "refused" if named else f"says {message!r}"
        except Exception as error:
            verdict = f"{type(error).__name__}: {error}"[:300]
        path.write_bytes(content)
        yield Outcome(kind, number, damage.__name__, verdict)


def table(outcomes: list[Outcome]) -> str:
    """A line a kind of file: how often each verdict was."""
    verdicts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        verdict = outcome.verdict if outcome.verdict in FINE else "WRONG"
        verdicts.setdefault(outcome.kind, Counter())[verdict] += 1
    wrong = [str(outcome) for outcome in outcomes if outcome.verdict not in FINE]
    return "\n".join([*(f"{kind:<28}{dict(count)}" for kind, count in sorted(verdicts.items())), *wrong])
