"""Who is at work: what a process leaves for those that it keeps waiting or out."""

import getpass
import os
import socket
from datetime import datetime


def this_process() -> str:
    """User, host, process and the time of now, as in `ann on node7, process 4711, since 2026-11-22 15:20:31 CET`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container a user may have no name
        user = f"user {os.getuid()}"
    now = datetime.now().astimezone()
    return f"{user} on {socket.gethostname()}, process {os.getpid()}, since {now:%Y-%m-%d %H:%M:%S %Z}"


def another(owner: str) -> str:
    """What a message calls the process that left these words, which may not have come to it yet."""
    return f"another rope-mt ({owner})" if owner else "another rope-mt"
