"""What a run tells Weights & Biases: name, settings, metrics over steps, translations, scores and files.

Nothing leaves the machine unless its owner is logged in, nothing asks questions, and a dead server costs seconds: what
it does not take stays in the folder `wandb` beside the run folders. wandb is imported only where it is used.
"""

import math
import os
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rope_mt.config.training import TrackingConfig
from rope_mt.errors import UserError
from rope_mt.runs.folder import AGAIN, RunFolder
from rope_mt.runs.wandb_client import (
    QUESTION,
    accepted,
    give_up,
    mode_of_environment,
    one_line,
    run_id,
    say,
    start,
    variable,
)
from rope_mt.system.files import remove_tree
from rope_mt.system.manifest import read_manifest, write_manifest

STEP = "trainer/global_step"  # optimizer updates; the name under which Lightning's own logger writes them
BEST = {"valid/loss": min, "valid/perplexity": min, "valid/bleu": max, "valid/chrf": max}

MOST_ROWS = 5_000  # of a table: more than all of newstest2014
SLOW = 5.0  # seconds; no more tables and files are sent to a server that takes longer for one
SLOWEST_UPLOAD = 1e6  # bytes a second; the end of a run waits for a file as long as this rate takes

# Settings to add to a W&B run that has ended: what it says of the machine and the code that trained it stays
ADDING = {"x_disable_meta": True, "x_disable_stats": True, "x_save_requirements": False, "disable_git": True}


class Tracker:
    """A W&B run to log to, as in `with track(...) as tracker`; without a W&B run every method does nothing.

    For W&B the run has finished when the block ends, and failed when the block raises.
    """

    def __init__(self, run: Any, folder: Path) -> None:  # a wandb.Run or None, and the folder of our run
        self.run: Any = run
        self.folder = folder
        self._summary: dict[str, Any] = _known(folder).get("summary", {}) if run is not None else {}
        self._gives_up = False
        self._uploads: list[Any] = []  # artifacts on their way
        if run is not None and run.offline:  # `wandb sync` replaces the summary of the server by the one of this part
            self.tell(lambda: run.summary.update(self._summary))

    def log(self, values: dict[str, Any], step: int) -> None:
        """Log one row of metrics, `step` optimizer updates into the run."""
        if self.run is None:
            return
        known = {name: values[name] for name in BEST.keys() & values.keys() if values[name] is not None}
        scored = {name for name, value in known.items() if math.isfinite(value)}
        for name in scored:  # wandb itself knows the minimum and maximum since this process began
            best = BEST[name]
            before = self._summary.get(name, {}).get(best.__name__)  # None: the first one that is finite
            self._summary[name] = {best.__name__: values[name] if before is None else best(values[name], before)}

        def send() -> None:
            self.run.log({**values, STEP: step})
            if scored:
                self.run.summary.update({name: self._summary[name] for name in scored})

        self.tell(send)
        if scored:
            _remember(self.folder, summary=self._summary)

    def tell(self, send: Callable[[], Any]) -> None:
        """Tell W&B something; where that fails, as after its process was killed, the job goes on untracked."""
        try:
            send()
        except Exception as error:
            give_up(f"{one_line(error)}; from here on this job is not tracked")
            self.run = None

    def log_translations(self, name: str, rows: Sequence[tuple[str, str, str]], step: int | None = None) -> None:
        """Log a table of source, reference, hypothesis and the chrF2 (0-100) of the first MOST_ROWS sentences.

        `step` is the number of optimizer updates; None if the table is about the run as a whole.
        """
        if self.run is None:
            return
        import wandb
        from sacrebleu import sentence_chrf

        table = wandb.Table(columns=["source", "reference", "hypothesis", "chrF"])
        for source, reference, hypothesis in rows[:MOST_ROWS]:
            table.add_data(source, reference, hypothesis, sentence_chrf(hypothesis, [reference]).score)

        def send() -> None:
            if step is None:  # and not in the history: leet would draw its numbers of columns and rows as curves
                self.run.summary.update({name: table})
            else:
                self.run.log({name: table, STEP: step})

        self._send(name, send)

    def summarize(self, values: dict[str, Any]) -> None:
        """Set the values by which runs are compared, such as test/bleu (0-100) and test/signature."""
        if self.run is not None:
            self.tell(lambda: self.run.summary.update(values))

    def keep(self, path: Path, kind: str) -> None:
        """Keep a file, or the files in a folder, as the next version of the artifact NAME-KIND.

        W&B reads the file where it lies when it uploads it: nobody would remove a copy that was made offline.
        """
        if self.run is None:
            return
        import wandb

        def send() -> None:
            name = self.run.name or self.run.id  # offline, a run that something is added to has no name
            artifact = wandb.Artifact(f"{run_id(name)}-{kind}", kind)
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                artifact.add_file(str(file), policy="immutable", skip_cache=True)
            self._uploads.append(self.run.log_artifact(artifact))

        self._send(path.name, send)

    def _send(self, name: str, send: Callable[[], None]) -> None:
        """Send a table or file, about which wandb first asks the server; after a failure no others are sent."""
        if self._gives_up:
            return
        begin, problem = time.monotonic(), None
        try:
            send()
            if time.monotonic() - begin > SLOW:
                problem = f"the server is slow; after {name} no more tables and files are sent"
        except Exception as error:
            problem = f"{one_line(error)}; {name} and later tables and files are not uploaded"
        if problem is not None:
            self._gives_up = True
            say(problem)

    def where(self) -> str:
        """One line that tells the user where to look; empty without a W&B run."""
        if self.run is None:
            return ""
        if not self.run.offline:
            return f"W&B: {self.run.url}"
        path = shlex.quote(os.path.relpath(self.run.settings.wandb_dir))
        return f"W&B is offline: look with `wandb leet {path}`, upload with `wandb sync {path}`"

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the W&B run; an error of W&B must not cost the job its result."""
        if self.run is None:
            return
        with suppress(Exception):  # a dead server: run.finish() below says so
            names = [name for name in dict(self.run.summary) if not name.startswith("_")]
            _remember(self.folder, summary={name: self.run.summary.get(name) for name in names})
        if not self.run.offline and not self._gives_up:
            for artifact in self._uploads:
                with suppress(Exception):  # as above
                    artifact.wait(timeout=round(QUESTION + artifact.size / SLOWEST_UPLOAD))
        try:
            self.run.finish(exit_code=0 if kind is None else 1)
        except Exception as error:
            say(f"{one_line(error)}; the run may be incomplete")


def track(cfg: TrackingConfig, folder: Path, config: dict[str, Any], *, name: str, tags: list[str]) -> Tracker:
    """Track the run in a folder; one that goes on from a checkpoint goes on in its W&B run.

    The steps since that checkpoint are then twice at W&B, which cannot take a row back, and once in metrics.jsonl. As
    long as all is on this machine, the rows of metrics.jsonl are written again, and replace the earlier parts.

    Args:
        cfg: what it leaves open, W&B's own variables say; the mode `auto` heeds what `wandb offline` has set.
        folder: its run.json remembers the id of the W&B run.
        config: the settings as plain values.
        name: of a W&B run that begins.
    """
    mode = cfg.mode or mode_of_environment() or "auto"
    if cfg.name == "none" or mode == "disabled":
        return Tracker(None, folder)
    # The name alone cannot be the id: `overwrite=true`, and a colleague with the same command, begin other runs of the
    # same name, but W&B resumes a run whose id it knows, and refuses one that was deleted.
    begins = "id" not in _known(folder)
    id = _known(folder).get("id") or run_id(f"{name}-{secrets.token_hex(2)}")
    project, group = cfg.project or variable("PROJECT") or "rope-mt", cfg.group or variable("RUN_GROUP")
    tags = [*tags, *(cfg.tags or (variable("TAGS") or "").split(","))]
    about = {"id": id, "resume": "allow", "name": accepted(name), "project": accepted(project)}
    about |= {"entity": variable("ENTITY"), "group": group and accepted(group), "job_type": "train", "config": config}
    about["tags"] = [accepted(tag.strip()) for tag in tags if tag.strip()]
    run = start(mode, folder, about)
    tracker = Tracker(run, folder)
    if run is not None:
        entity, project = run.entity or None, about["project"]
        _remember(folder, id=run.id, project=project, entity=entity, mode=mode, where=tracker.where())
        tracker.tell(lambda: _define_metrics(run))
        if run.offline or begins:
            _write_again(tracker, begins)
    return tracker


def _write_again(tracker: Tracker, begins: bool) -> None:
    """Write the rows up to the last checkpoint, if no row is at the server, and remove the parts that have them.

    A W&B run `begins` in a run that has rows already where it was not tracked before, or began with another one's.
    """
    from rope_mt.runs.checkpoint import rows_kept  # imports torch

    run, here = RunFolder(tracker.folder), Path(tracker.run.dir).parent
    parts = [part for part in here.parent.glob(f"*run-*-{tracker.run.id}") if part != here]
    at_server = any(part.name.startswith("run-") or any(part.glob("*.synced")) for part in parts)
    if run.metrics.is_file() and (begins or (parts and not at_server)):
        for row in rows_kept(run):
            tracker.log(row, row.pop("step"))
        for part in parts:
            remove_tree(part)


def _define_metrics(run: Any) -> None:
    for axis in (STEP, "tokens", "epoch"):  # W&B offers those as axes that are defined alone and without a step
        run.define_metric(axis)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for name, best in BEST.items():
        run.define_metric(name, step_metric=STEP, step_sync=True, summary=best.__name__)


def attach(folder: Path, mode: str | None = None) -> Tracker:
    """Add scores, tables and files to the W&B run of a finished run; its name, group, tags and settings stay.

    Without a mode the environment says it, or else it is that of the run.

    The tracker does nothing if the run was not tracked, or has not finished: its own process would overwrite all that
    is added here.
    """
    known = _known(folder)
    mode = mode or mode_of_environment() or known.get("mode")
    run = None
    if "id" in known and mode != "disabled" and RunFolder(folder).result.is_file():
        about = {**{name: known[name] for name in ("id", "project", "entity")}, "resume": "must", "settings": ADDING}
        run = start("auto" if mode == "online" else str(mode), folder, about)
    return Tracker(run, folder)


def where(folder: Path) -> str:
    """The line that tells where to look at the run in a folder; empty if it was not tracked."""
    return str(_known(folder).get("where", ""))


def _known(folder: Path) -> dict[str, Any]:
    """What run.json remembers of the W&B run: id, project, entity, mode, where, summary; empty if not tracked."""
    identity = RunFolder(folder).identity
    return read_manifest(identity, AGAIN).get("wandb", {}) if identity.is_file() else {}


def _remember(folder: Path, **known: Any) -> None:
    """Add to what run.json remembers; an error is only printed, since a run does not end for what W&B alone needs."""
    identity = RunFolder(folder).identity
    try:
        content = read_manifest(identity, AGAIN)
        write_manifest(identity, {**content, "wandb": {"summary": {}, **content.get("wandb", {}), **known}})
    except UserError as error:
        say(str(error))
