"""What a run tells Weights & Biases: its name, configuration, metrics over steps, samples and final scores.

Nothing leaves the machine unless its owner is logged in, nothing asks questions, and a server that is away costs
seconds: what it does not take stays in the folder `wandb` beside the run folders. wandb is imported where it is wanted.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rope_mt.config.training import TrackingConfig
from rope_mt.errors import UserError

STEP = "trainer/global_step"  # optimizer updates; the name under which Lightning's own logger writes them

# The longest waits for a server, in seconds. A table goes up as an artifact, which ignores finish_timeout: only its
# requests running out of retries ends it. Logged numbers have retries of their own, and outlast long outages.
PATIENCE: dict[str, Any] = {
    "init_timeout": 10,
    "finish_timeout": 60,
    "x_graphql_retry_max": 2,
    "x_graphql_retry_wait_max_seconds": 5,
    "x_graphql_timeout_seconds": 10,
}


class Tracker:
    """One job as W&B sees it; without a run every method does nothing."""

    def __init__(self, run: Any = None) -> None:
        self.run = run  # a wandb.Run, or None

    def log(self, values: dict[str, Any], step: int) -> None:
        """One row of metrics, `step` optimizer updates into the run."""
        if self.run is not None:
            self.run.log({**values, STEP: step})

    def log_samples(self, rows: list[tuple[str, str, str]], step: int) -> None:
        """Show translations: rows of source, reference, hypothesis."""
        if self.run is None:
            return
        import wandb
        from wandb.errors import CommError

        table = wandb.Table(columns=["source", "reference", "hypothesis"], data=[list(row) for row in rows])
        try:
            self.run.log({"samples": table, STEP: step})
        except CommError as error:  # the first table of a run asks the server who we are
            _say(f"{_one_line(error)}; the samples of step {step} are left out")

    def summarize(self, values: dict[str, Any]) -> None:
        """Set what the runs are compared by, such as test/bleu (0-100) and test/signature."""
        if self.run is not None:
            self.run.summary.update(values)

    def finish(self, exit_code: int) -> None:
        """End the run, 0 for finished; whatever happens here must not cost the job its result."""
        if self.run is not None:
            try:
                self.run.finish(exit_code=exit_code)
            except Exception as error:
                _say(f"{_one_line(error)}; the run may be incomplete")

    def where(self) -> str:
        """One line for the user: where to look; empty without a run."""
        if self.run is None:
            return ""
        if not self.run.offline:
            return f"W&B: {self.run.url}"
        all_runs, this_run = shlex.quote(self.run.settings.wandb_dir), shlex.quote(self.run.settings.sync_dir)
        return f"W&B is offline: look with `wandb leet {all_runs}`, upload with `wandb sync {this_run}`"


@contextmanager
def track(
    cfg: TrackingConfig, folder: Path, config: dict[str, Any], *, tags: list[str], job_type: str = "train"
) -> Iterator[Tracker]:
    """Track one job; for W&B it has finished when the block ends, and failed when the block raises.

    Args:
        cfg: WANDB_MODE in the environment comes before its mode; `auto` heeds what `wandb offline` has set.
        folder: the run folder. Its name is the run's, so a job continued there goes on in the same W&B run.
        config: the configuration as plain values.

    Raises:
        UserError: online is asked for without a login, or W&B does not accept a name, tag or mode.
    """
    tracker = Tracker(_start(cfg, folder, config, [*tags, *cfg.tags], job_type))
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    finally:
        tracker.finish(exit_code)


def run_id(name: str) -> str:
    """A folder's name as a W&B id: letters, digits, `.`, `_` and `-`, at most 64; if that changes it, with a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    if plain == name and 0 < len(name) <= 64:
        return name
    return f"{plain[:55]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _start(cfg: TrackingConfig, folder: Path, config: dict[str, Any], tags: list[str], job_type: str) -> Any:
    """The wandb.Run of this job, or None where W&B is switched off."""
    setting = "WANDB_MODE" if os.environ.get("WANDB_MODE") else "tracking.mode"
    asked = os.environ.get("WANDB_MODE") or cfg.mode
    if cfg.name == "none" or asked == "disabled":
        return None
    import wandb
    from wandb.errors import CommError, UsageError

    folder.parent.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"project": cfg.project, "group": cfg.group, "job_type": job_type, "tags": tags}
    about |= {"id": run_id(folder.name), "name": folder.name, "resume": "allow", "config": config}
    about |= {"dir": folder.parent.absolute()}
    try:
        about["mode"] = _setup(asked)
        if about["mode"] == "disabled":
            return None
        if about["mode"] not in ("offline", "dryrun") and not wandb.login(prompt=False, verify=True):
            if asked != "auto":
                remedy = f"run `wandb login`, or take {setting}=offline"
                raise UserError(f"{setting}={asked}, but nobody is logged in to W&B here: {remedy}")
            about["mode"] = "offline"
        run = wandb.init(**about)
    except CommError as error:  # the server is away, or refuses the key or the run
        _say(f"{_one_line(error)}; this run is written offline")
        wandb.teardown()  # or the id would stay taken by the attempt
        _setup(asked)
        about["mode"] = "offline"
        run = wandb.init(**about)
    except (UsageError, ValueError) as error:
        raise UserError(f"W&B: {_one_line(error)}") from error

    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for name, best in {"valid/loss": "min", "valid/bleu": "max", "test/bleu": "max"}.items():
        run.define_metric(name, step_metric=STEP, step_sync=True, summary=best)
    return run


def _setup(mode: str) -> str:
    """Make this process's wandb quiet and hasty; return its mode, which `auto` leaves to the user's settings."""
    import wandb

    chosen: dict[str, Any] = {} if mode == "auto" else {"mode": mode}
    return wandb.setup(wandb.Settings(console="off", show_info=False, **PATIENCE, **chosen)).settings.mode


def _say(what: str) -> None:
    print(f"W&B: {what}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    return re.sub(r" \[type=.*", "", " ".join(str(error).split()))
