"""How a W&B run is started, without questions and without long waits."""

import hashlib
import importlib
import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

# The longest waits for a server, in seconds. Logging numbers waits for nothing, and outlasts long outages. For a table
# or file wandb asks the server something: a dead server costs one QUESTION then, and finish_timeout at the end.
PATIENCE: dict[str, Any] = {
    "init_timeout": 10,
    "finish_timeout": 20,
    "x_graphql_retry_max": 1,
    "x_graphql_retry_wait_max_seconds": 2,
    "x_graphql_timeout_seconds": 8,
}
QUESTION = 10  # no setting limits this wait, but a variable of the environment

# Variables that wandb would read itself, and refuse a value of with an error. Some of them may be of an outer job.
VARIABLES = ("PROJECT", "ENTITY", "MODE", "DISABLED", "DIR", "RUN_GROUP", "TAGS", "RUN_ID", "RESUME")
OFF = ("", "0", "f", "false", "n", "no", "off")


def variable(name: str) -> str | None:
    """The variable WANDB_NAME of the environment; None where it is empty or not set."""
    return os.environ.get(f"WANDB_{name}", "").strip() or None


def mode_of_environment() -> str | None:
    """The mode that WANDB_DISABLED or WANDB_MODE, in any case, asks for; None if they ask for nothing."""
    if os.environ.get("WANDB_DISABLED", "").strip().lower() not in OFF:
        return "disabled"
    mode = (variable("MODE") or "").lower()
    if mode in ("", "online", "run", "offline", "dryrun", "disabled"):
        return mode or None
    say(f"WANDB_MODE={mode} is none of online, offline and disabled; this run is written offline")
    return "offline"


def start(mode: str, folder: Path, about: dict[str, Any]) -> Any:
    """The wandb.Run of a job in this run folder, or None if W&B is disabled or fails: a job goes on without it.

    Its files are in WANDB_DIR, else beside the run folder.

    Args:
        mode: online, offline, disabled, or `auto`: online if somebody is logged in and earlier parts of this run have
            been uploaded, so that the parts come to the server in their order.
        about: arguments of wandb.init.
    """
    folder = Path(variable("DIR") or folder.parent).absolute()  # all runs in it share its folder `wandb`
    hidden = {name: os.environ.pop(name) for name in (f"WANDB_{each}" for each in VARIABLES) if name in os.environ}
    try:
        _refuse_other_than_utf8([str(folder), about])
        folder.mkdir(parents=True, exist_ok=True)
        return _started(mode, {**about, "dir": folder})
    except Exception as error:  # the disk is full, a setting is wrong, a package is broken
        give_up(f"{one_line(error)}; this job is not tracked")
        return None
    finally:
        os.environ.update(hidden)


def _refuse_other_than_utf8(told: Any) -> None:
    """W&B cannot write names with other bytes, and its log would print tracebacks."""
    try:
        json.dumps(told, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("the name of a folder or file is not UTF-8") from error


def _started(mode: str, about: dict[str, Any]) -> Any:
    import wandb
    from wandb.errors import CommError

    try:
        about["mode"] = _setup(mode)
        if about["mode"] == "disabled":
            return None
        if mode == "auto" and _waits_for_upload(about["dir"], about["id"]):
            about["mode"] = "offline"
        if about["mode"] not in ("offline", "dryrun") and not wandb.login(prompt=False, verify=True):
            if mode != "auto":
                say("nobody is logged in here: run `wandb login`; this run is written offline")
            about["mode"] = "offline"
        return wandb.init(**about)
    except CommError as error:  # the server is away, or refuses the key or the run
        say(f"{one_line(error)}; this run is written offline")
        wandb.teardown()  # or the id would stay taken by the attempt
        _setup(mode)
        return wandb.init(**{**about, "mode": "offline"})


def give_up(reason: str) -> None:
    """Say why, and end wandb's own process, or what it does at the end of ours prints a traceback."""
    say(reason)
    with suppress(Exception):
        importlib.import_module("wandb").teardown()


def run_id(name: str) -> str:
    """A folder's name as a W&B id: at most 64 letters, digits, `.`, `_` and `-`; a changed name gets a hash."""
    return accepted(name, r"[^A-Za-z0-9._-]")


def accepted(name: str, refused: str = r"[/\\#?%:]") -> str:
    """A name, group, tag or project that W&B takes: 1 to 64 characters, none of them refused.

    A changed name gets a hash. Characters are refused in projects alone, but are as good as dashes elsewhere.
    """
    plain = re.sub(refused, "-", name)
    if plain == name and 0 < len(name) <= 64:
        return name
    return f"{plain[:55]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _waits_for_upload(folder: Path, id: str) -> bool:
    """Whether a part of the run with this id is still to be uploaded."""
    logs = folder.glob(f"*wandb/offline-run-*/run-{id}.wandb")
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
