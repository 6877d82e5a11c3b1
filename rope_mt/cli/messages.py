"""What is wrong with a command line, in one sentence for the person who typed it, from Hydra's and OmegaConf's errors.

Imported only once a command that Hydra composes is under way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_type_hints

from hydra.conf import HydraConf
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from rope_mt.config.commands import BenchConfig
from rope_mt.config.position import PositionConfig

HYDRA_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)
EXTRAS = {  # that Hydra's plugins come with
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/sweeper/optuna": "optuna",
}
KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "text"}


def settings(schema: type, prefix: str = "") -> list[str]:
    """Dotted names of every setting and group below a schema; those of all schemes or subjects stand side by side."""
    names: dict[str, None] = {}
    for part in (schema, *(schema.__subclasses__() if schema in (PositionConfig, BenchConfig) else ())):
        hints = get_type_hints(part)
        for name, hint in ((field.name, hints[field.name]) for field in fields(part)):
            names[prefix + name] = None
            if is_dataclass(hint) and isinstance(hint, type):
                names |= dict.fromkeys(settings(hint, f"{prefix}{name}."))
    return list(names)


def did_you_mean(word: str, known: Iterable[str], show: str = "{}") -> str:
    """A question to end a complaint with, or nothing when no known word resembles this one."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {show.format(near[0])}?" if near else ""


def strangers(cfg: Any, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Settings of a composed configuration, each with the dataclass that has no field for it: what `+typo=1` leaves."""
    owner = OmegaConf.get_type(cfg)
    if owner is None or not is_dataclass(owner):
        return
    known = {field.name for field in fields(owner)}
    for key in cfg:
        if key not in known:
            yield f"{prefix}{key}", owner
        elif OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key):
            continue
        elif OmegaConf.is_dict(cfg[key]):
            yield from strangers(cfg[key], f"{prefix}{key}.")


def unknown(setting: str, owner: Any, schema: type) -> str:
    """Say that `owner`, a dataclass, has no such setting, and which one may have been meant."""
    known = settings(HydraConf, "hydra.") if setting.startswith("hydra.") else settings(schema)
    if setting in known:  # a parameter of another position scheme
        own = ", ".join(field.name for field in fields(owner) if field.name != "name")
        return f"there is no setting {setting} in {owner.__name__}, which has {own or 'none'}"
    group, _, leaf = setting.rpartition(".")
    leaves = {name: name.rpartition(".")[2] for name in known}
    meant = [name for name, last in leaves.items() if last == leaf]
    meant = meant or get_close_matches(setting, known, n=1, cutoff=0.8)
    if not meant and (near := get_close_matches(leaf, leaves.values(), n=1, cutoff=0.8)):
        meant = [name for name, last in leaves.items() if last in near]
    if meant:
        return f"there is no setting {setting}; did you mean {' or '.join(meant)}?"
    beside = [last for name, last in leaves.items() if group and name == f"{group}.{last}"]
    hint = f"{group} has {', '.join(beside)}" if beside else "--help lists them all"
    return f"there is no setting {setting}; {hint}"


def complaint(error: Exception, words: list[str], schema: type) -> str:
    """One line on why Hydra or OmegaConf could not make a configuration of `words`."""
    chain = [error]
    while isinstance(chain[-1].__cause__, Exception):
        chain.append(chain[-1].__cause__)
    cause = next((link for link in reversed(chain) if isinstance(link, OmegaConfBaseException)), None)
    text = str(error).strip()

    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"cannot read {error.override!r}: a setting is written KEY=VALUE"
        return (
            f"cannot read {error.override!r}: a setting is written KEY=VALUE, "
            "and a VALUE with quotes, brackets, '=' or ',' in it 'KEY=\"VALUE\"'"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and "/" in error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if extra := EXTRAS.get(error.missing_cfg_file):
            return f"{group}={name} is not installed: pip install 'rope-mt[{extra}]'"
        options = list(error.options or [])
        choice = f"it can be {', '.join(options)}" if options else f"there is nothing in {group}/ to choose from"
        wrong = f"{group}={name} does not exist" if name else f"{group}= needs a name"
        return f"{wrong}: {choice}" + did_you_mean(name, options, f"{group}={{}}")
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        asked = re.match("Could not override '([^']+)'", text)
        return unknown(asked[1] if asked else cause.full_key, cause.object_type, schema)
    if cause is not None:
        return _bad_value(cause)
    if text.startswith("Ambiguous value") or "requires --multirun" in text:
        word = text.split("'")[1]
        return f"{word} means several runs: add -m to do them all, or write KEY=[A,B] for a list"
    if isinstance(error, ConfigCompositionException) and "raised while composing config" in text:
        file, reason = text.splitlines()[0], text.splitlines()[1:2]
        return f"{file.split(': ')[0]}: {''.join(reason)}"
    if "Config group override" in text:  # Hydra does not say which
        groups = {"", *(name for name, hint in get_type_hints(schema).items() if is_dataclass(hint))}
        word = next((word for word in words if word.lstrip("+~").split("=")[0] in groups), " ".join(words))
        return f"{word} does not name an option: a group takes the name of one of its files"
    if known := re.match("Could not append to config. An item is already at '(.+?)'", text):
        return f"{known[1]} is there already: write it without the +"
    if "No match in the defaults list" in text:
        return f"{text.split(chr(39))[1]} is not for this command to choose"
    text = re.split(r"\n(?:Search path|Config search path|See http|To append to)", text)[0]
    return " ".join(text.split()) or type(error).__name__


def _bad_value(error: OmegaConfBaseException) -> str:
    text = str(error).splitlines()[0]
    key = error.full_key or "the configuration"
    if wrong := re.fullmatch(r"Value (.*) of type '.*' could not be converted to (\w+)", text):
        return f"{key} must be {KINDS.get(wrong[2], wrong[2])}, not {wrong[1]}"
    if wrong := re.fullmatch(r"Value (.*) is not a valid bool \(type .*\)", text):
        return f"{key} must be true or false, not {wrong[1]}"
    if unset := re.search(r"Environment variable '(\w+)' not found", text):
        return f"{key} needs the environment variable {unset[1]}: set it, or give {key.partition('[')[0]}"
    if "is not Optional" in text:
        return f"{key} must have a value, not null"
    if "is not a ListConfig" in text:
        return f"{key} must be a list, as in {key}=[A,B]"
    if "does not support deletion" in text:
        return f"{key} can be changed, not removed"
    return f"{key}: {text}"
