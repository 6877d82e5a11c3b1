"""Tab completion: the shell calls `rope-mt -sc query=SHELL` with the line typed so far in COMP_LINE."""

from __future__ import annotations

import contextlib
import io
import os
import re

from rope_mt.cli.commands import COMMANDS
from rope_mt.cli.flags import PARSERS, SUBJECTS
from rope_mt.cli.hydra import call_hydra
from rope_mt.cli.words import flag_names, path_at, split_flags
from rope_mt.config.choices import command_schema, foreign_groups, subjects


def complete(rest: list[str]) -> int:
    """Print the words that may follow; or, for install=SHELL, the lines that teach a shell to ask for them."""
    if not any(word.startswith("query=") for word in rest):
        return call_hydra("train", {"--shell-completion": True}, rest)
    line = os.environ.get("COMP_LINE", "")
    words = line.split()[1:] + ([""] if line.endswith(" ") else [])
    if len(words) < 2:
        print(" ".join(COMMANDS))
    elif words[0] == "analyze":
        if len(words) == 2:
            print(" ".join(SUBJECTS))
    elif words[0] not in COMMANDS or words[0] in PARSERS:
        pass  # the shell completes the names of runs
    elif words[-1].startswith("-"):
        print(" ".join(flag_names()))
    else:
        named = subjects() if words[0] == "bench" and len(words) == 2 else ()
        first = [name for name in named if name.startswith(words[1])]
        with contextlib.suppress(Exception):  # what is typed so far may be wrong: no suggestion then, and no word
            first += _settings(words[0], words[1:-1], words[-1], rest)
        print(" ".join(first))
    return 0


def _settings(command: str, before: list[str], word: str, query: list[str]) -> list[str]:
    """Hydra's suggestions for `word`, less the groups of other commands."""
    flags, typed = split_flags(before)
    if command == "bench":  # what to measure is a word of its own
        typed = [name if "=" in name else f"bench={name}" for name in typed]
    schema = command_schema(command)
    if (at := path_at(typed, schema)) is not None:
        del typed[at]
    elif "=" not in word and path_at([*typed, word], schema) == len(typed):
        return []  # a run: where it is told nothing, the shell completes the names of files
    line = os.environ["COMP_LINE"]
    suggestions = io.StringIO()
    try:
        os.environ["COMP_LINE"] = " ".join(["rope-mt", *(["-m"] if "--multirun" in flags else []), *typed, word])
        with contextlib.redirect_stdout(suggestions):
            call_hydra(command, {"--shell-completion": True}, query)
    finally:
        os.environ["COMP_LINE"] = line
    foreign = re.compile(rf"[+~]?(?:{'|'.join(foreign_groups(command))})(?:[/=@]|$)")
    return [found for found in suggestions.getvalue().split() if not foreign.match(found)]
