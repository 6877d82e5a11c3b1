"""Tab completion: the shell calls `rope-mt -sc query=SHELL` with the line typed so far in COMP_LINE."""

import contextlib
import io
import os
import re

from rope_mt.cli import flags
from rope_mt.cli.commands import COMMANDS
from rope_mt.cli.hydra import call_hydra
from rope_mt.cli.messages import settings
from rope_mt.cli.words import flag_names
from rope_mt.config.choices import command_schema, groups, options
from rope_mt.errors import UserError

SHELLS = ("bash", "fish", "zsh")


def complete(rest: list[str]) -> int:
    """Print the words that may follow; or, for install=SHELL, the lines that teach a shell to ask for them."""
    if not any(word.startswith("query=") for word in rest):
        if not {*rest} & {f"install={shell}" for shell in SHELLS}:
            raise UserError(f"write -sc install=SHELL, with one of {', '.join(SHELLS)}")
        return call_hydra("train", {"--shell-completion": True}, rest)
    line = os.environ.get("COMP_LINE", "")
    words = line.split()[1:] + ([""] if line.endswith(" ") else [])
    command, *before, word = words if len(words) > 1 else ["", ""]
    if not command:
        print(*COMMANDS)
    elif command == "analyze":
        print(*(flags.SUBJECTS if not before else ()))
    elif command not in COMMANDS or command in flags.COMMANDS:
        print()  # the shell completes the names of runs
    elif word.startswith("-"):
        print(*flag_names(command))
    else:
        subjects = options("bench") if command == "bench" and not before else ()
        print(*(name for name in subjects if name.startswith(word)), *_settings(command, before, word, rest))
    return 0


def _settings(command: str, before: list[str], word: str, query: list[str]) -> list[str]:
    """Hydra's suggestions for `word`, without the groups of other commands."""
    if command == "bench":
        before = [name if "=" in name else f"bench={name}" for name in before]
    known = {*settings(command_schema(command)), *groups(command), "hydra", "-m", "--multirun"}
    typed = sorted((name for name in before if name.partition("=")[0] in known), key=lambda name: name[0] != "-")
    if len(before) - len(typed) != ("checkpoint" in known) and "=" not in word:
        return []  # a run comes next, and the shell completes its name
    os.environ["COMP_LINE"] = " ".join(["rope-mt", *typed, word])
    suggestions = io.StringIO()
    with contextlib.suppress(Exception), contextlib.redirect_stdout(suggestions):  # what is typed so far may be wrong
        call_hydra(command, {"--shell-completion": True}, query)
    return [name for name in suggestions.getvalue().split() if re.split("[./=@]", name.lstrip("+~"))[0] in known]
