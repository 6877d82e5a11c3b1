"""`rope-mt ls`: the runs in a folder, how far each is, and the disk that their old checkpoints take."""

import shutil
import time
from pathlib import Path
from typing import Any

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

# BLEU is of the test set. The folder comes last and is never cut: it can be copied from a narrow terminal
COLUMNS = ("scheme", "seed", "state", "step", "BLEU", "size", "age", "code", "run")


def ls(cfg: LsConfig) -> None:
    """Print a table of the runs, the latest last; with `prune` offer to remove what finished runs no longer need.

    Raises:
        UserError: there is no such folder, no run in it, or a checkpoint cannot be removed.
    """
    runs = sorted({run.path: run for folder in cfg.folders for run in _runs_in(folder)}.values(), key=_changed)
    if not runs:
        raise UserError(f"there is no run in {', '.join(map(str, cfg.folders))}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in COLUMNS:
        right = column in ("seed", "step", "BLEU", "size", "age")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    finished = []
    for run in runs:
        cells = {name: Text(text) for name, text in _cells(run).items()}
        state = cells["state"].plain
        cells["state"].stylize(STYLES[state])
        table.add_row(*(cells.get(column) for column in COLUMNS))
        if state == FINISHED:
            finished.append(run)
    console = output()
    Console(width=1_000).print(table)
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


def _cells(run: RunFolder) -> dict[str, str]:
    """What the table says of a run, by column."""
    cells = {"size": size_text(used(run.path)), "age": _age(run), "run": str(run.path)}
    finished = run.result.is_file()
    try:
        about = read_manifest(run.result if finished else run.identity, "")
        if finished:
            scheme, seed, steps = about["position"], about["seed"], f"{about['steps']:,}"
            known = {"state": FINISHED, "BLEU": f"{about['test']['bleu']:.2f}"}
        else:
            cfg, step = about["config"], last_logged(run).get("step")
            done = "" if step is None else f"{step:,}"
            scheme, seed, steps = cfg["position"]["name"], cfg["seed"], f"{done} of {cfg['trainer']['max_steps']:,}"
            at_work = SCORING if run.is_scoring() else TRAINING
            known = {"state": at_work if held(run.lock) else STOPPED}
        return {**cells, **known, "scheme": scheme, "seed": str(seed), "step": steps, "code": _code(about)}
    except (UserError, LookupError, TypeError):  # which `compare` and `train` tell of
        return {**cells, "state": DAMAGED}


def _code(about: dict[str, Any]) -> str:
    """The name of a run's code, with + where it was changed during the run; the commit of a run that lacks it."""
    if "code" in about:
        return code.name_of(about["code"]) + "+" * bool(about["changed_code"])
    return str(about.get("commit") or "")[:8]


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
