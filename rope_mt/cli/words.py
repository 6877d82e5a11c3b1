"""The words behind a command: Hydra's flags, settings, the run of eval and translate, and the subject of bench."""

import os
from typing import Any, NamedTuple, NoReturn

from hydra._internal.utils import get_args_parser

from rope_mt import __version__
from rope_mt.cli.grammar import as_typed, quoted
from rope_mt.cli.habits import instead_of_flag, instead_of_words, own_text
from rope_mt.cli.messages import did_you_mean, settings
from rope_mt.config.choices import command_schema, groups, options
from rope_mt.errors import UserError
from rope_mt.system.files import expanded

MODES = ("--run", "--multirun", "--cfg", "--info", "--shell-completion")

# The names of Hydra's plugins mean our settings of them, which Hydra does not let a file of the same name hold.
OURS = {
    "hydra/launcher=submitit_slurm": "hydra/launcher=slurm",
    "hydra/launcher=submitit_local": "hydra/launcher=local",
    "hydra/sweeper=optuna": "hydra/sweeper=optuna_bleu",
}


class Words(NamedTuple):
    flags: dict[str, Any]  # Hydra's, by their long names
    settings: list[str]
    config: str  # the command, or bench/SUBJECT
    schema: type  # the dataclass of the command


def read_words(command: str, rest: list[str]) -> Words:
    """Read the words behind a command: a run, a subject and flags may stand anywhere among the settings.

    Raises:
        UserError: a flag or the subject is wrong, or there are more words than the command takes.
    """
    flags, words = split_flags(rest, command)
    config = command
    if command == "bench":
        words = [word if "=" in word or word.startswith("~") else f"bench={word}" for word in words]
        words.sort(key=lambda word: word.startswith("bench="))  # last: Hydra complains of the first wrong group
        subjects = [word.removeprefix("bench=") for word in words if word.startswith("bench=")]
        if not flags.keys() & {"--help", "--hydra-help"} or subjects:
            config = f"bench/{_subject(subjects)}"
    schema = command_schema(config)
    if (at := run_at(words, schema)) is not None:
        more = [word for word in words[at + 1 :] if "=" not in word and word[:1] not in ("~", "+")]
        if runs := [word for word in more if os.path.exists(word)]:
            raise UserError(f"{command} takes one run, not {1 + len(runs)}: name {words[at]} or another alone")
        if more and command == "translate":
            raise UserError("text comes from standard input, as in: echo TEXT | rope-mt translate RUN")
        words[at] = f"checkpoint={quoted(expanded(words[at]))}"
    elif hint := instead_of_words(words, config, schema) or ("data" in groups(config) and own_text(words)):
        raise UserError(hint)
    words = [as_typed(word, several="--multirun" in flags) for word in words]
    own, known = groups(config), settings(schema)
    for at, word in enumerate(words):
        group, _, name = word.lstrip("+").partition("=")
        # Hydra adds any setting behind a +, and refuses an unknown one without it; each scheme has settings of its own
        may_be_unknown = group not in known or group.startswith("position.")
        is_group = group in own  # with +, a habit from programs without the group
        if (is_group or may_be_unknown) and not group.startswith(("hydra.", "hydra/")):
            words[at] = word.lstrip("+")
        if name.startswith("[") and group in own - {"experiment"}:  # Hydra would mix them
            raise UserError(f"{word} names several: for a run each write -m {group}={name.strip('[]')}")
        words[at] = OURS.get(words[at], words[at])
    return Words(flags, words, config, schema)


def split_flags(rest: list[str], command: str) -> tuple[dict[str, Any], list[str]]:
    """Hydra's flags by their long names, and the other words: Hydra wants flags in front, people put them anywhere.

    Raises:
        UserError: there is no such flag, or it goes badly with another.
    """
    parser = get_args_parser()
    parser.error = _raise  # type: ignore[method-assign]
    parser.add_argument("--dry-run", action="store_true")  # ours
    version, info = (action for action in parser._actions if action.dest in ("version", "info"))
    vars(version)["version"] = f"rope-mt {__version__}"  # Hydra's would be its own
    words = [  # argparse would take the setting behind --info for its value
        "--info=all" if word in ("-i", "--info") and after not in (info.choices or ()) else word
        for word, after in zip(rest, [*rest[1:], ""], strict=False)
    ]
    namespace, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        flag, after = unknown[0], rest[rest.index(unknown[0]) + 1 :][:1]
        hint = instead_of_flag(flag, "".join(after), command, command_schema(command), flag_names(command))
        raise UserError(f"there is no flag {flag}{hint}")
    flags = {f"--{name.replace('_', '-')}": value for name, value in vars(namespace).items() if value}
    if "--dry-run" in flags and command != "train":
        raise UserError(f"--dry-run is for train, not for {command}")
    if {"--config-path", "--config-name"} & {*flags}:
        raise UserError(
            "settings of your own are a file FOLDER/experiment/NAME.yaml: --config-dir FOLDER experiment=NAME"
        )
    modes = [flag for flag in MODES if flag in flags]
    if len(modes) > 1:
        raise UserError(f"{' and '.join(modes)} cannot be given together")
    if (rerun := flags.get("--experimental-rerun")) and not os.path.isfile(rerun):
        raise UserError(f"there is no file {rerun}")
    if "--resolve" in flags and not {"--cfg", "--help"} & {*flags}:
        raise UserError("--resolve needs --cfg or --help beside it")
    return flags, flags.pop("--overrides", [])


def _raise(message: str) -> NoReturn:
    raise UserError(message.replace("ignored explicit argument", "takes no value, not"))


def flag_names(command: str) -> list[str]:
    names = [name for name in get_args_parser()._option_string_actions if name.startswith("--")]
    return [*names, "--dry-run"] if command == "train" else names


def run_at(words: list[str], schema: type) -> int | None:
    """Where the run or checkpoint stands: the first word that is no setting, even with = in it, as in runs/lr=3."""
    known = {*settings(schema)}
    keys = [word.lstrip("+~").partition("=")[0] if "=" in word else "" for word in words]
    if "checkpoint" not in known or "checkpoint" in keys:
        return None
    exists = [os.path.exists(word) for word in words]  # Path.exists raises where a name is too long
    possible = [
        at for at, key in enumerate(keys) if exists[at] or not (key in known or key.startswith(("hydra.", "hydra/")))
    ]
    # a word with = that is not there may be a setting that is spelt wrong
    return min(possible, key=lambda at: "=" in words[at] and not exists[at], default=None)


def _subject(named: list[str]) -> str:
    """The one subject of bench that was named.

    Raises:
        UserError: none or several were, or there is no such subject.
    """
    subjects = options("bench")
    example = f"as in rope-mt bench {next(iter(subjects))}"
    if len(named) != 1:
        raise UserError(f"one thing to measure must be given: {' or '.join(subjects)}, {example}")
    if named[0] not in subjects:
        hint = did_you_mean(named[0], subjects, "rope-mt bench {}") or f", {example}"
        raise UserError(f"bench cannot measure {named[0]!r}, only {' or '.join(subjects)}{hint}")
    return named[0]
