"""Which weights a path on the command line means, and `rope-mt eval RUN checkpoints=...` of a run."""

import re
from pathlib import Path
from typing import Any

from rope_mt.errors import UserError
from rope_mt.runs import checkpoint, exported
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.folder import RunFolder


def select(path: Path, which: Any) -> tuple[Checkpoint, str]:
    """The weights to evaluate, and what to call them.

    Steps, files and `lastN` are weights as they were in training, without the moving average of `trainer.ema`.

    Args:
        path: a run folder; for `average` also one checkpoint or an exported folder, which are what they are.
        which: as in EvalConfig.checkpoints.

    Raises:
        UserError: the run has no such checkpoint or too few of them, or they cannot be averaged.
    """
    if which == "average":
        ckpt = load(path)
        return ckpt, f"{ckpt.path}, step {ckpt.step:,}"
    run = RunFolder(path)
    if not run.checkpoints.is_dir():
        raise UserError(f"checkpoints={which} chooses among those of a run, and {path} is no run folder")
    if which == "ema":
        full = latest(run)
        if full is None:
            raise UserError(f"{run.checkpoints} has no step-*.ckpt, in which the moving average is kept")
        return checkpoint.from_values(checkpoint.moving_average(full), full), f"moving average in {full}"
    if which == "best":
        if not run.best.is_file():
            raise UserError(f"{run.checkpoints} has no best.ckpt: the run has not been validated")
        paths = [run.best]
    elif isinstance(which, str) and which.startswith("last"):
        paths = _last(run, int(which.removeprefix("last")))
    else:
        paths = [_named(run, one) for one in (which if isinstance(which, list) else [which])]
    if len(paths) == 1:
        ckpt = checkpoint.load(paths[0])
        return ckpt, f"{paths[0]}, step {ckpt.step:,}"
    ckpt = checkpoint.from_values(checkpoint.average(paths), paths[-1])
    return ckpt, f"mean of {len(paths)}: {', '.join(file.name for file in paths)}"


def load(path: Path) -> Checkpoint:
    """The weights of a run's own score, of a .ckpt file, or of a folder that `rope-mt export --to safetensors` made.

    Raises:
        UserError: the path is none of these, or damaged.
    """
    return exported.read(path) if exported.looks_exported(path) else checkpoint.load(path)


def saved_weights(run: RunFolder) -> list[Path]:
    """Files with the weights of a run in training, oldest first: weights alone, or in full where only those are."""
    return numbered(run, "weights") or numbered(run, "step")


def weights_of(run: RunFolder, step: int) -> Path:
    """The file of the weights of this step."""
    return run.checkpoints / f"weights-{step:07d}.ckpt"


def numbered(run: RunFolder, kind: str) -> list[Path]:
    """The checkpoints that a run has saved as step-N or weights-N, oldest first; copies of other names left out."""
    found = run.checkpoints.glob(f"{kind}-*.ckpt")
    return sorted(file for file in found if re.fullmatch(rf"{kind}-\d{{7,}}\.ckpt", file.name) and file.is_file())


def latest(run: RunFolder) -> Path | None:
    """The full checkpoint of the highest step, to go on from."""
    return max(numbered(run, "step"), default=None)


def _last(run: RunFolder, n: int) -> list[Path]:
    there = saved_weights(run)
    if len(there) < n:
        raise UserError(
            f"checkpoints=last{n}, and {run.checkpoints} has {len(there)}: a run keeps as many as trainer.average says"
        )
    return there[-n:]


def _named(run: RunFolder, name: int | str) -> Path:
    """The file of a step, or one by its name in the run's folder or by its path."""
    if isinstance(name, str):
        inside = run.checkpoints / name
        return inside if inside.is_file() else Path(name)
    for kind in ("weights", "step"):
        file = run.checkpoints / f"{kind}-{name:07d}.ckpt"
        if file.is_file():
            return file
    numbers = (file.stem.rpartition("-")[2] for file in run.checkpoints.glob("*.ckpt"))
    steps = sorted({int(number) for number in numbers if number.isdecimal()})
    there = ", ".join(map(str, steps)) or "none"
    raise UserError(f"{run.checkpoints} has no checkpoint of step {name}, only of {there}")
