"""The words behind a command: Hydra's flags, settings, and for eval and translate a path."""

from __future__ import annotations

import argparse
import os
import re
from typing import Any, NoReturn

from rope_mt.errors import UserError


class _Flags(argparse.ArgumentParser):
    SWITCHES = "-h --help,--hydra-help,--version,--resolve,-r --run,-m --multirun,-sc --shell-completion"
    VALUES = "-p --package,-cp --config-path,-cn --config-name,-cd --config-dir,--experimental-rerun"
    MODES = ("--run", "--multirun", "--cfg", "--info", "--shell-completion")
    INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

    def __init__(self) -> None:
        super().__init__(add_help=False)
        for names in self.SWITCHES.split(","):
            self.add_argument(*names.split(), action="store_true")
        for names in self.VALUES.split(","):
            self.add_argument(*names.split())
        self.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
        self.add_argument("-i", "--info", choices=self.INFO)
        self.add_argument("words", nargs="*")

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def split_flags(rest: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Hydra's flags by their long names, and the other words: Hydra wants flags in front, people put them anywhere.

    Raises:
        UserError: there is no such flag, or it goes badly with another.
    """
    parser = _Flags()
    after = [*rest[1:], ""]
    alone = [w in ("-i", "--info") and next_ not in parser.INFO for w, next_ in zip(rest, after, strict=False)]
    given, extra = parser.parse_known_intermixed_args(
        ["--info=all" if bare else word for word, bare in zip(rest, alone, strict=True)]
    )
    if extra:
        from rope_mt.cli.messages import did_you_mean

        raise UserError(f"there is no flag {extra[0]}{did_you_mean(extra[0], flag_names())}")
    flags = {f"--{name.replace('_', '-')}": value for name, value in vars(given).items() if value}
    words = flags.pop("--words", [])
    modes = [flag for flag in parser.MODES if flag in flags]
    if len(modes) > 1:
        raise UserError(f"{' and '.join(modes)} cannot be given together")
    if "--resolve" in flags and not {"--cfg", "--help"} & {*flags}:
        raise UserError("--resolve needs --cfg or --help beside it")
    return flags, words


def flag_names() -> list[str]:
    return [name for name in _Flags()._option_string_actions if name.startswith("--")]


def path_at(words: list[str], schema: type) -> int | None:
    """Where a run or checkpoint stands: the first word that is no setting, even with = in it, as in runs/lr=3."""
    from rope_mt.cli.messages import settings

    known = {*settings(schema)}
    keys = [word.lstrip("+~").partition("=")[0] if "=" in word else "" for word in words]
    if "checkpoint" not in known or "checkpoint" in keys:
        return None
    there = [os.path.exists(word) for word in words]  # and no Path, which raises where a name is too long
    able = [
        at for at, key in enumerate(keys) if there[at] or not (key in known or key.startswith(("hydra.", "hydra/")))
    ]
    # sooner than a word with =, which may be a setting that is spelt wrong
    return min(able, key=lambda at: "=" in words[at] and not there[at], default=None)


def quoted(text: str) -> str:
    """A string of Hydra's grammar, in which a quote is escaped, and so are the backslashes before one."""
    return "'" + re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + ("\\'" if end[2] else ""), text) + "'"
