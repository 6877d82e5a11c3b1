"""How a run at Weights & Biases is begun, without questions and without long waits, and what of it lies on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from rope_mt.errors import UserError

# The longest waits for a server, in seconds. Logging numbers waits for nothing, and outlasts long outages. A table or
# file makes wandb ask the server something: one that has died costs a QUESTION then, once, and finish_timeout at the
# end, under a minute in all.
PATIENCE: dict[str, Any] = {
    "init_timeout": 10,
    "finish_timeout": 40,
    "x_graphql_retry_max": 2,
    "x_graphql_retry_wait_max_seconds": 5,
    "x_graphql_timeout_seconds": 10,
}
QUESTION = 10  # which no setting limits, but a variable of the environment


def start(asked: str, folder: Path, about: dict[str, Any]) -> Any:
    """The wandb.Run of a job in this run folder, or None where W&B is off or cannot write its files.

    Args:
        asked: online, offline, disabled, or `auto`: online if somebody is logged in and earlier parts of this run were
            too, so that a run's parts come to the server in their order.
        about: what wandb.init is told.

    Raises:
        UserError: online is asked for without a login, or W&B does not accept a name, tag or mode.
    """
    import wandb
    from wandb.errors import CommError, UsageError

    runs = folder.absolute().parent  # whose folder `wandb` all of them share
    runs.mkdir(parents=True, exist_ok=True)
    about = {**about, "dir": runs}
    try:
        about["mode"] = _setup(asked)
        if about["mode"] == "disabled":
            return None
        if asked == "auto" and _waiting(runs, about["id"]):
            about["mode"] = "offline"
        if about["mode"] not in ("offline", "dryrun") and not wandb.login(prompt=False, verify=True):
            if asked != "auto":
                setting = "WANDB_MODE" if os.environ.get("WANDB_MODE") else "tracking.mode"
                remedy = f"run `wandb login`, or take {setting}=offline"
                raise UserError(f"{setting}={asked}, but nobody is logged in to W&B here: {remedy}")
            about["mode"] = "offline"
        run = wandb.init(**about)
        for handler in logging.getLogger("wandb").handlers:  # on a full disk its log would print tracebacks
            handler.handleError = lambda record: None
        return run
    except CommError as error:  # the server is away, or refuses the key or the run
        say(f"{one_line(error)}; this run is written offline")
        wandb.teardown()  # or the id would stay taken by the attempt
        _setup(asked)
        return wandb.init(**{**about, "mode": "offline"})
    except (UsageError, ValueError) as error:
        raise UserError(f"W&B: {one_line(error)}") from error
    except OSError as error:  # the disk is full, or its folder cannot be written
        say(f"{one_line(error)}; this job is not tracked")
        wandb.teardown()
        return None


def run_id(name: str) -> str:
    """A folder's name as a W&B id: letters, digits, `.`, `_` and `-`, at most 64; if that changes it, with a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    if plain == name and 0 < len(name) <= 64:
        return name
    return f"{plain[:55]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _waiting(runs: Path, run: str) -> bool:
    """Whether a part of the run with this id is still to be uploaded."""
    logs = runs.glob(f"*wandb/offline-run-*/run-{run}.wandb")
    return not all(log.with_name(f"{log.name}.synced").exists() for log in logs)


def _setup(mode: str) -> str:
    """Make this process's wandb quiet and hasty; return its mode, which `auto` leaves to the user's settings."""
    os.environ.setdefault("WANDB_HTTP_TIMEOUT", str(QUESTION))
    import wandb

    chosen: dict[str, Any] = {} if mode == "auto" else {"mode": mode}
    return wandb.setup(wandb.Settings(console="off", show_info=False, **PATIENCE, **chosen)).settings.mode


def say(what: str) -> None:
    """One line on standard error."""
    print(f"W&B: {what}", file=sys.stderr)


def one_line(error: Exception) -> str:
    return re.sub(r" \[type=.*", "", " ".join(str(error).split()))
