"""`rope-mt ls`: the runs in a folder, how far each is, and the disk that their old checkpoints take."""

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.config.flags import LsConfig
from rope_mt.errors import UserError
from rope_mt.runs import code
from rope_mt.runs.folder import RunFolder, last_logged
from rope_mt.system.disk import size_text, used, writing
from rope_mt.system.locks import alone, held
from rope_mt.system.manifest import read_manifest
from rope_mt.system.progress import output

FINISHED, TRAINING, SCORING, STOPPED, DAMAGED = "finished", "training", "scoring", "stopped", "damaged"
STYLES = {FINISHED: "green", TRAINING: "cyan", SCORING: "cyan", STOPPED: "yellow", DAMAGED: "red"}


class Row(NamedTuple):
    run: RunFolder
    state: str
    scheme: str = ""
    seed: str = ""
    step: str = ""
    bleu: str = ""  # of the test set
    code: str = ""


def ls(cfg: LsConfig) -> None:
    """Print a table of the runs, the latest last; with `prune` offer to remove what finished runs no longer need.

    Raises:
        UserError: there is no such folder, no run in it, or a checkpoint cannot be removed.
    """
    runs = sorted({run.path: run for folder in cfg.folders for run in _runs_in(folder)}.values(), key=_changed)
    if not runs:
        raise UserError(f"there is no run in {', '.join(map(str, cfg.folders))}")
    rows = [_row(run) for run in runs]
    console = output()
    # the folder comes last and is never cut: in a narrow terminal it goes on in the next line, and can be copied
    Console(width=1_000).print(_table(rows))
    finished = [row.run for row in rows if row.state == FINISHED]
    # step-N and best-N: all but the averaged weights
    checkpoints = [folder for run in finished for folder in sorted(run.checkpoints.glob("[!.]*-*/"))]
    if not checkpoints:
        return
    size = size_text(sum(map(used, checkpoints)))
    what = f"{len(checkpoints)} checkpoints of finished runs, {size}: all but their averaged weights"
    if not cfg.prune:
        console.print(Text(f"rope-mt ls --prune can remove {what}."), soft_wrap=True)
        return
    console.print(Text(f"remove {what}? [y/N] "), end="", soft_wrap=True)
    try:
        answer = input()
    except EOFError:  # nobody is there to be asked
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        console.print("nothing was removed")
        return
    for folder in checkpoints:
        run = RunFolder(folder.parents[1])
        with alone(run.lock, f"training {run.path}"), writing(folder):
            shutil.rmtree(folder)
    console.print(f"removed {size}")


def _runs_in(folder: Path) -> list[RunFolder]:
    """The run in this folder, or the runs in the folders below it."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    runs = [RunFolder(path) for path in (folder, *folder.iterdir())]
    return [run for run in runs if run.identity.is_file() or run.result.is_file()]


def _row(run: RunFolder) -> Row:
    finished = run.result.is_file()
    try:
        about = read_manifest(run.result if finished else run.identity, "")
        if finished:
            values = about["position"], about["seed"], about["steps"], about["test"]["bleu"]
        else:
            values = about["config"]["position"]["name"], about["config"]["seed"], last_logged(run).get("step"), None
    except (UserError, LookupError, TypeError):  # which `compare` and `train` tell of
        return Row(run, DAMAGED)
    scheme, seed, step, bleu = values
    at_work = SCORING if run.is_scoring() else TRAINING
    state = FINISHED if finished else at_work if held(run.lock) else STOPPED
    steps = "" if step is None else f"{step:,.0f}"
    if not finished:
        steps += f" of {about['config']['trainer']['max_steps']:,}"
    return Row(run, state, scheme, str(seed), steps, "" if bleu is None else f"{bleu:.2f}", _code(about))


def _code(about: dict[str, Any]) -> str:
    """The name of a run's code, with + where it was changed during the run; the commit of a run that lacks it."""
    if "code" in about:
        return code.name_of(about["code"]) + "+" * bool(about["changed_code"])
    return str(about.get("commit") or "")[:8]


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("scheme", "seed", "state", "step", "BLEU", "size", "age", "code", "run"):
        right = column in ("seed", "step", "BLEU", "size", "age")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        state, size = Text(row.state, STYLES[row.state]), size_text(used(row.run.path))
        name = Text(str(row.run.path))
        table.add_row(row.scheme, row.seed, state, row.step, row.bleu, size, _age(row.run), row.code, name)
    return table


def _changed(run: RunFolder) -> float:
    """When a run was last written, in seconds since 1970."""
    files = [file for file in (run.result, run.metrics, run.identity) if file.is_file()]
    return max(file.stat().st_mtime for file in files)


def _age(run: RunFolder) -> str:
    seconds = max(0.0, time.time() - _changed(run))
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
