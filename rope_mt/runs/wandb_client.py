"""How a W&B run is started, without questions and without long waits."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from rope_mt.errors import UserError

# The longest waits for a server, in seconds. Logging numbers waits for nothing, and outlasts long outages. For a table
# or file wandb asks the server something: a dead server costs one QUESTION then, and finish_timeout at the end.
PATIENCE: dict[str, Any] = {
    "init_timeout": 10,
    "finish_timeout": 40,
    "x_graphql_retry_max": 2,
    "x_graphql_retry_wait_max_seconds": 5,
    "x_graphql_timeout_seconds": 10,
}
QUESTION = 10  # no setting limits this wait, but a variable of the environment


def start(mode: str, folder: Path, about: dict[str, Any]) -> Any:
    """The wandb.Run of a job in this run folder, or None if W&B is disabled or cannot write its files.

    Args:
        mode: online, offline, disabled, or `auto`: online if somebody is logged in and earlier parts of this run have
            been uploaded, so that the parts come to the server in their order.
        about: arguments of wandb.init.

    Raises:
        UserError: online is asked for without a login, or W&B does not accept a name, tag or mode.
    """
    import wandb
    from wandb.errors import CommError, UsageError

    runs = folder.absolute().parent  # all runs in it share its folder `wandb`
    runs.mkdir(parents=True, exist_ok=True)
    about = {**about, "dir": runs}
    try:
        about["mode"] = _setup(mode)
        if about["mode"] == "disabled":
            return None
        if mode == "auto" and _waits_for_upload(runs, about["id"]):
            about["mode"] = "offline"
        if about["mode"] not in ("offline", "dryrun") and not wandb.login(prompt=False, verify=True):
            if mode != "auto":
                setting = "WANDB_MODE" if os.environ.get("WANDB_MODE") else "tracking.mode"
                remedy = f"run `wandb login`, or take {setting}=offline"
                raise UserError(f"{setting}={mode}, but nobody is logged in to W&B here: {remedy}")
            about["mode"] = "offline"
        run = wandb.init(**about)
    except CommError as error:  # the server is away, or refuses the key or the run
        say(f"{one_line(error)}; this run is written offline")
        wandb.teardown()  # or the id would stay taken by the attempt
        _setup(mode)
        return wandb.init(**{**about, "mode": "offline"})
    except (UsageError, ValueError) as error:
        raise UserError(f"W&B: {one_line(error)}") from error
    except OSError as error:  # the disk is full, or its folder cannot be written
        say(f"{one_line(error)}; this job is not tracked")
        wandb.teardown()
        return None
    for handler in logging.getLogger("wandb").handlers:  # on a full disk its log would print tracebacks
        handler.handleError = lambda record: None
    return run


def run_id(name: str) -> str:
    """A folder's name as a W&B id: at most 64 letters, digits, `.`, `_` and `-`; a changed name gets a hash."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    if plain == name and 0 < len(name) <= 64:
        return name
    return f"{plain[:55]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _waits_for_upload(runs: Path, id: str) -> bool:
    """Whether a part of the run with this id is still to be uploaded."""
    logs = runs.glob(f"*wandb/offline-run-*/run-{id}.wandb")
    return not all(log.with_name(f"{log.name}.synced").exists() for log in logs)


def _setup(mode: str) -> str:
    """Make wandb quiet and impatient in this process; return its mode, which `auto` leaves to the user's settings."""
    os.environ.setdefault("WANDB_HTTP_TIMEOUT", str(QUESTION))
    import wandb

    chosen: dict[str, Any] = {} if mode == "auto" else {"mode": mode}
    return wandb.setup(wandb.Settings(console="off", show_info=False, **PATIENCE, **chosen)).settings.mode


def say(line: str) -> None:
    print(f"W&B: {line}", file=sys.stderr)


def one_line(error: Exception) -> str:
    """The message of an error in one line, without pydantic's details."""
    return re.sub(r" \[type=.*", "", " ".join(str(error).split()))
