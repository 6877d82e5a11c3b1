"""What a run tells Weights & Biases: its name, configuration, metrics over steps, translations, scores and files.

Nothing leaves the machine unless its owner is logged in, nothing asks questions, and a server that is away costs
seconds: what it does not take stays in the folder `wandb` beside the run folders. wandb is imported where it is wanted.
"""

from __future__ import annotations

import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rope_mt.config.training import TrackingConfig
from rope_mt.errors import UserError
from rope_mt.runs.folder import AGAIN, RunFolder
from rope_mt.runs.wandb_client import QUESTION, one_line, run_id, say, start
from rope_mt.system.manifest import read_manifest, write_manifest

STEP = "trainer/global_step"  # optimizer updates; the name under which Lightning's own logger writes them
# W&B offers as an axis what is a metric by itself and stands in every row: these two beside the step, the default
AXES = ("tokens", "epoch")
BEST = {"valid/loss": "min", "valid/perplexity": "min", "valid/bleu": "max", "valid/chrf": "max"}

MOST_ROWS = 5_000  # of a table: all of newstest2014
SLOW = 5.0  # seconds; a server that lets a table or file wait longer is sent no more of them
WORTH_WAITING = 1e6  # bytes a second; files that are under way then are waited for as long as this rate would take

# Settings to add to a run with, that W&B has: what it says of how and where that was trained stays
ADDING = {"x_disable_meta": True, "x_disable_stats": True, "x_save_requirements": False, "disable_git": True}


class Tracker:
    """One job as W&B sees it; without a run every method does nothing."""

    def __init__(self, run: Any, folder: Path) -> None:
        self.run, self.folder = run, folder  # a wandb.Run, or None; of which run
        self._given_up = False
        self._uploads: list[Any] = []  # artifacts under way

    def log(self, values: dict[str, Any], step: int) -> None:
        """One row of metrics, `step` optimizer updates into the run."""
        if self.run is None:
            return
        self.run.log({**values, STEP: step})
        if scored := BEST.keys() & values.keys():
            # wandb's own minimum and maximum are those since this session began
            try:
                told = _known(self.folder).get("summary", {})
            except UserError as error:  # a run does not end for what W&B alone wants
                say(str(error))
                return
            for name in scored:
                best = {"min": min, "max": max}[BEST[name]]
                before = told.get(name, {}).get(BEST[name], values[name])
                told[name] = {BEST[name]: best(values[name], before)}
            self.run.summary.update({name: told[name] for name in scored})
            _remember(self.folder, summary=told)

    def log_translations(self, name: str, rows: Sequence[tuple[str, str, str]], step: int | None = None) -> None:
        """A table of source, reference and hypothesis, with the chrF2 of each sentence (0-100).

        Args:
            rows: the first `MOST_ROWS` of them are shown.
            step: after how many optimizer updates; None: of the run as a whole.
        """
        if self.run is None:
            return
        import wandb

        from rope_mt.translation.scoring import sentence_chrf

        rows = rows[:MOST_ROWS]
        chrf = sentence_chrf([hyp for _, _, hyp in rows], [ref for _, ref, _ in rows])
        data = [[*row, score] for row, score in zip(rows, chrf, strict=True)]
        table = wandb.Table(columns=["source", "reference", "hypothesis", "chrF"], data=data)
        self._send(name, lambda: self.run.log({name: table} if step is None else {name: table, STEP: step}))

    def summarize(self, values: dict[str, Any]) -> None:
        """Set what the runs are compared by, such as test/bleu (0-100) and test/signature."""
        if self.run is not None:
            self.run.summary.update(values)

    def keep(self, file: Path, kind: str) -> None:
        """Keep a file of the run as the artifact NAME-KIND, of which each run of that name makes a version.

        W&B reads the file where it lies, when it uploads it, and makes no copy that offline nobody would remove.
        """
        if self.run is None:
            return
        import wandb

        def send() -> None:
            artifact = wandb.Artifact(f"{run_id(self.run.name)}-{kind}", kind)
            artifact.add_file(str(file), policy="immutable", skip_cache=True)
            self._uploads.append(self.run.log_artifact(artifact))

        self._send(file.name, send)

    def finish(self, exit_code: int) -> None:
        """End the run, 0 for finished; whatever happens here must not cost the job its result."""
        if self.run is None:
            return
        with suppress(Exception):  # else the next session repeats what the last validation left
            names = [name for name in dict(self.run.summary) if name[0] != "_"]
            _remember(self.folder, summary={name: self.run.summary.get(name) for name in names})
        if not (self.run.offline or self._given_up):
            for artifact in self._uploads:
                with suppress(Exception):  # the end below has the last word
                    artifact.wait(timeout=round(QUESTION + artifact.size / WORTH_WAITING))
        try:
            self.run.finish(exit_code=exit_code)
        except Exception as error:
            say(f"{one_line(error)}; the run may be incomplete")

    def where(self) -> str:
        """One line for the user: where to look; empty without a run."""
        if self.run is None:
            return ""
        if not self.run.offline:
            return f"W&B: {self.run.url}"
        folder = Path(self.run.settings.wandb_dir)  # of all runs, each of which may have several parts there
        here = shlex.quote(str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder))
        return f"W&B is offline: look with `wandb leet {here}`, upload with `wandb sync {here}`"

    def _send(self, what: str, send: Callable[[], None]) -> None:
        """Send what wandb asks the server about first, and waits: what fails is left out, and so is what follows."""
        if self._given_up:
            return
        begun = time.monotonic()
        try:
            send()
        except Exception as error:
            self._given_up = True
            say(f"{one_line(error)}; {what} and what else would be uploaded is left out")
        else:
            self._given_up = time.monotonic() - begun > SLOW
            if self._given_up:
                say(f"the server is slow; after {what} no more tables and files are sent")


@contextmanager
def track(
    cfg: TrackingConfig, folder: Path, config: dict[str, Any], *, tags: list[str], job_type: str = "train"
) -> Iterator[Tracker]:
    """Track one job; for W&B it has finished when the block ends, and failed when the block raises.

    A run that goes on from a checkpoint goes on in its W&B run, where the steps since that checkpoint then are twice:
    W&B cannot take a row back, and both are at their step. In metrics.jsonl they are once.

    Args:
        cfg: WANDB_MODE in the environment comes before its mode; `auto` heeds what `wandb offline` has set.
        folder: the run folder. Its name is the run's, and its run.json remembers under which id W&B has it.
        config: the configuration as plain values.

    Raises:
        UserError: online is asked for without a login, or W&B does not accept a name, tag or mode.
    """
    asked = os.environ.get("WANDB_MODE") or cfg.mode
    run = None
    if cfg.name != "none" and asked != "disabled":
        # A name alone is no id: `overwrite=true` and a colleague with the same command begin other runs of that name,
        # and an id that W&B has is resumed, or refused where the run was deleted.
        id = _known(folder).get("id") or run_id(f"{folder.name}-{secrets.token_hex(2)}")
        about = {"id": id, "resume": "allow", "name": folder.name, "project": cfg.project, "group": cfg.group}
        about |= {"job_type": job_type, "tags": [*tags, *cfg.tags], "config": config}
        run = _go_on(asked, folder, about)
    if run is not None:
        said = Tracker(run, folder).where()
        _remember(folder, id=run.id, project=cfg.project, entity=run.entity or None, mode=cfg.mode, where=said)
        # each by itself, and not by a step: so W&B takes them for axes
        for axis in (STEP, *AXES):
            run.define_metric(axis)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        for name, best in BEST.items():
            run.define_metric(name, step_metric=STEP, step_sync=True, summary=best)
    with _until_done(run, folder) as tracker:
        yield tracker


@contextmanager
def attach(folder: Path) -> Iterator[Tracker]:
    """Add to what W&B has of a run: scores and tables, where name, group, tags and configuration stay as they are.

    It is idle where the run was not tracked, or has not finished: a process that is still at it would not see what was
    added, and overwrite it. Nothing that W&B objects to is an error here.
    """
    known = _known(folder)
    asked = os.environ.get("WANDB_MODE") or str(known.get("mode"))
    run = None
    if "id" in known and asked != "disabled" and RunFolder(folder).result.is_file():
        about = {**{name: known[name] for name in ("id", "project", "entity")}, "resume": "must", "settings": ADDING}
        try:
            run = _go_on("auto" if asked == "online" else asked, folder, about)
        except UserError as error:
            say(str(error).removeprefix("W&B: "))
    with _until_done(run, folder) as tracker:
        yield tracker


def _go_on(asked: str, folder: Path, about: dict[str, Any]) -> Any:
    """A wandb.Run with the summary that it had: `wandb sync` puts a part's in the place of what the server has."""
    run = start(asked, folder, about)
    if run is not None and run.offline:
        run.summary.update(_known(folder).get("summary", {}))
    return run


@contextmanager
def _until_done(run: Any, folder: Path) -> Iterator[Tracker]:
    tracker = Tracker(run, folder)
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    finally:
        tracker.finish(exit_code)


def where(folder: Path) -> str:
    """What the run in this folder said of where to look; empty where it was not tracked."""
    return str(_known(folder).get("where", ""))


def _known(folder: Path) -> dict[str, Any]:
    """What W&B was told of this run, and what it said; empty where it was not tracked."""
    identity = RunFolder(folder).identity
    known = read_manifest(identity, AGAIN).get("wandb", {}) if identity.is_file() else {}
    if not isinstance(known, dict):
        raise UserError(f"{identity} does not say what W&B knows of the run: {AGAIN}")
    return known


def _remember(folder: Path, **known: Any) -> None:
    """In the file that a run begins with, so that one which begins again in its place has another id.

    Where the disk is full this is left out, and said: a run does not end for what W&B alone wants.
    """
    identity = RunFolder(folder).identity
    known = {"summary": {}, **_known(folder), **known}
    there = read_manifest(identity, AGAIN)
    try:
        write_manifest(identity, {**there, "wandb": known})
    except UserError as error:
        say(str(error))
