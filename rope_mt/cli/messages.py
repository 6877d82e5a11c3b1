"""One line about a mistake on the command line, made from the errors of Hydra and OmegaConf."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_type_hints

from hydra.conf import HydraConf
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from rope_mt.cli.grammar import PLAIN, quoted
from rope_mt.config.commands import BenchConfig
from rope_mt.config.position import PositionConfig

HYDRA_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)
EXTRAS = {  # the extra of rope-mt that installs a plugin of Hydra
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/sweeper/optuna": "optuna",
}
KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "text"}


def settings(schema: type, prefix: str = "") -> list[str]:
    """Dotted names of all settings and groups of a dataclass, with those of all position schemes or bench subjects."""
    names: dict[str, None] = {}
    for name, hint in get_type_hints(schema).items():
        names[prefix + name] = None
        if is_dataclass(hint) and isinstance(hint, type):
            names |= dict.fromkeys(settings(hint, f"{prefix}{name}."))
    for part in schema.__subclasses__() if issubclass(schema, PositionConfig | BenchConfig) else ():
        names |= dict.fromkeys(settings(part, prefix))
    return list(names)


def did_you_mean(word: str, known: Iterable[str], show: str = "{}") -> str:
    """A question that names the known word most like this one; empty if no word is like it."""
    small = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), small, n=1, cutoff=0.6)
    return f"; did you mean {show.format(small[near[0]])}?" if near else ""


def unknown(setting: str, owner: Any, schema: type) -> str:
    """Say that the dataclass `owner` has no such setting, and name the settings that the user may have meant."""
    known = settings(HydraConf, "hydra.") if setting.startswith("hydra.") else settings(schema)
    if setting in known:  # a setting of another position scheme
        own = ", ".join(field.name for field in fields(owner) if field.name != "name")
        return f"there is no setting {setting} in {owner.__name__}, which has {own or 'none'}"
    group, _, leaf = setting.rpartition(".")
    known = [name for name in known if not name.startswith("data.recipe.")]  # which belong to a corpus
    leaves = {name: name.rpartition(".")[2] for name in known}
    meant = [name for name in known if leaves[name] == leaf] or get_close_matches(setting, known, n=1, cutoff=0.8)
    if not meant:
        near = get_close_matches(leaf, leaves.values(), n=1, cutoff=0.8)
        meant = [name for name in known if leaves[name] in near]
    if meant:
        return f"there is no setting {setting}; did you mean {' or '.join(meant)}?"
    of_group = [leaves[name] for name in known if group and name == f"{group}.{leaves[name]}"]
    hint = f"{group} has {', '.join(of_group)}" if of_group else "--help lists them all"
    return f"there is no setting {setting}; {hint}"


def complaint(error: Exception, words: list[str], schema: type) -> str:
    """One line that says why Hydra or OmegaConf could not make a configuration from `words`."""
    chain = [error]
    while isinstance(chain[-1].__cause__, Exception):
        chain.append(chain[-1].__cause__)
    cause = next((link for link in reversed(chain) if isinstance(link, OmegaConfBaseException)), None)
    text = str(error).strip()

    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if not equals:
            return f"cannot read {error.override!r}: a setting is written KEY=VALUE"
        if value.rstrip().endswith(","):
            return f"cannot read {error.override!r}: remove the comma at its end"
        signs = re.sub(PLAIN, "", value, flags=re.ASCII)
        sign = f" with {signs[0]!r} in it" if signs else ""
        return f"cannot read {error.override!r}: write a text{sign} as {shlex.quote(f'{key}={quoted(value)}')}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and "/" in error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if extra := EXTRAS.get(error.missing_cfg_file):
            return f"{group}={name} is not installed: pip install 'rope-mt[{extra}]'"
        options = list(error.options or [])
        choice = f"it can be {', '.join(options)}" if options else f"the folder {group}/ has no file"
        wrong = f"{group}={name} does not exist" if name else f"{group}= needs a name"
        return f"{wrong}: {choice}" + did_you_mean(name, options, f"{group}={{}}")
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        override = re.match("Could not override '([^']+)'", text)
        return unknown(override[1] if override else cause.full_key, cause.object_type, schema)
    if cause is not None:
        return _bad_value(cause, schema)
    if isinstance(error, ConfigCompositionException) and "raised while composing config" in text:
        file, reason = text.splitlines()[0], text.splitlines()[1:2]
        return f"{file.split(': ')[0]}: {''.join(reason)}"
    if "Config group override" in text:  # Hydra does not say which
        groups = {"", *(name for name, hint in get_type_hints(schema).items() if is_dataclass(hint))}
        word = next((word for word in words if word.lstrip("+~").split("=")[0] in groups), " ".join(words))
        return f"{word} does not name an option: a group takes the name of one of its files"
    if added := re.match("Could not append to config. An item is already at '(.+?)'", text):
        return f"{added[1]} is a setting already: write it without the +"
    if "No match in the defaults list" in text:
        return f"this command has no group {text.split(chr(39))[1]}"
    text = re.split(r"\n(?:Search path|Config search path|See http|To append to)", text)[0]
    return " ".join(text.split()) or type(error).__name__


def _bad_value(error: OmegaConfBaseException, schema: type) -> str:
    """One line about a value that the setting does not take."""
    text = str(error).splitlines()[0]
    key = error.full_key or "the configuration"
    if wrong := re.fullmatch(r"Value (.*) of type '.*' could not be converted to (\w+)", text):
        return f"{key} must be {KINDS.get(wrong[2], wrong[2])}, not {wrong[1]}"
    if wrong := re.fullmatch(r"Value (.*) is not a valid bool \(type .*\)", text):
        return f"{key} must be true or false, not {wrong[1]}"
    if unset := re.search(r"Environment variable '(\w+)' not found", text):
        return f"{key} needs the environment variable {unset[1]}: set it, or give {key.partition('[')[0]}"
    if own := re.fullmatch("UserError raised while resolving interpolation: (.*)", text):
        return own[1]
    if "is not a subclass of" in text:
        of_key = [name for name in settings(schema) if name.startswith(f"{key}.")]
        if not of_key:  # an item of a list
            return f"{key} has settings of its own: write it as {{NAME: VALUE, ...}}"
        first = f"{key}.name" if f"{key}.name" in of_key else of_key[0]
        return f"{key} has settings of its own: write one of them, as in {first}=VALUE"
    if "Interpolation key" in text:
        return f"{key}: {text}; a name with ${{ in it is written \\${{"
    if "is not Optional" in text:
        return f"{key} must have a value, not null"
    if "is not a ListConfig" in text:
        return f"{key} must be a list, as in {key}=[A,B]"
    if "does not support deletion" in text:
        return f"{key} can be changed, not removed"
    return f"{key}: {text}"
