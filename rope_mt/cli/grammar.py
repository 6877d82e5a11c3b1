"""Hydra's grammar of settings, which gives a meaning of its own to many signs that paths have."""

import glob
import os
import re
from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rope_mt.system.files import expanded

LISTS = {"data.train", "data.valid", "data.test", "data.further_tests", "bench.text"}  # may be a path or [PATH,PATH]
PATHS = {"checkpoint", "data.dir", "data.mirror", "sweep.published", "sweep.tuned"} | LISTS
PATHS |= {"translate.input", "translate.output", "translate.attention"}
PATHS_OF_HYDRA = {"hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir"}
QUOTED = re.compile(r"^(['\"])(.*)\1$")
PLAIN = r"[\w\s\\/:.+*$%@?|-]"  # what a value may have without quotes, if it is ASCII


def quoted(text: str) -> str:
    """A string of Hydra's grammar, in which a quote is escaped, and so are the backslashes before one."""
    return "'" + re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + ("\\'" if end[2] else ""), text) + "'"


def as_typed(word: str, several: bool) -> str:
    """A word whose setting is a path, in a form that Hydra reads as this very path; a leading ~ is the home folder.

    null, ${...}, quotes and, where a setting takes them, lists keep their meaning. So does a comma between choices: of
    several runs, unless there is a file or folder of this very name.
    """
    key, _, value = word.partition("=")
    setting = key.lstrip("+")
    if setting not in PATHS | PATHS_OF_HYDRA or value == "null" or "${" in value:
        return word
    if not value and setting == "data.mirror":  # none
        return word
    is_list = setting in LISTS and value[:1] + value[-1:] == "[]"
    if is_list and _names_something(value[1:-1]):  # a path with commas, in a list of one
        return f"{key}={_list([value[1:-1]])}"
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        if is_list:
            paths = [QUOTED.sub(r"\2", path.strip()) for path in value[1:-1].split(",")]
            return f"{key}={_list(paths)}"
        return f"{key}={quoted(expanded(value))}"
    read = override.value()
    if override.is_sweep_override():
        choices = several and setting in PATHS and not _names_something(value)
        return word if choices or "(" in value else f"{key}={quoted(expanded(value))}"
    if isinstance(read, list) and setting in LISTS and all(isinstance(path, str) for path in read):
        return f"{key}={_list(read)}"
    quotes = isinstance(read, str) and read != value.strip()  # or backslashes
    path = expanded(str(read) if quotes else value)  # 1e3, true and the like are names as well
    return word if path == read else f"{key}={quoted(path)}"


def _list(paths: Iterable[str]) -> str:
    return f"[{','.join(quoted(expanded(path)) for path in paths)}]"


def _names_something(path: str) -> bool:
    """Whether this is a file or folder, or the prefix of files with text."""
    return os.path.exists(path) or bool(glob.glob(f"{glob.escape(path)}.*"))
