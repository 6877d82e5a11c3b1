"""What settings are checked with: each check raises one line that names the setting and what it must be.

Most take a dataclass, what the names of its settings begin with, such as `data.`, and the names of its fields.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Any

from rope_mt.errors import UserError

DEVICES, PRECISIONS = ("auto", "cpu", "cuda", "mps"), ("auto", "bf16", "fp32")
LARGEST = 10**8  # the bytes of a matrix with so many rows and columns are a number that torch can hold


def no_effect(default: Any) -> Any:
    """A field that cannot change the weights or scores of a run, and so stays out of the run's identity."""
    return field(default=default, metadata={"identity": False})


def added(default: Any) -> Any:
    """A field that runs once were without: its default changes no result, and stays out of the run's identity."""
    return field(default=default, metadata={"identity": "unless default"})


def require(holds: bool, setting: str, must: str, value: object) -> None:
    if not holds:
        raise UserError(f"{setting} must be {must}, not {value!r}")


def each(cfg: Any, group: str, names: Iterable[str], must: str, holds: Callable[[Any], bool]) -> None:
    for name in names:
        value = getattr(cfg, name)
        require(value is None or holds(value), group + name, must, value)  # null is right, or Hydra has refused it


def at_least(low: int, cfg: Any, group: str, *names: str) -> None:
    each(cfg, group, names, f"at least {low}", lambda value: value >= low)
    each(cfg, group, names, "finite", lambda value: value < math.inf)


def size(cfg: Any, group: str, *names: str) -> None:
    at_least(1, cfg, group, *names)
    each(cfg, group, names, f"at most {LARGEST:,}", lambda value: value <= LARGEST)


def above(low: int, cfg: Any, group: str, *names: str) -> None:
    each(cfg, group, names, f"above {low} and finite", lambda value: low < value < math.inf)


def fraction(cfg: Any, group: str, *names: str) -> None:
    each(cfg, group, names, "at least 0 and below 1", lambda value: 0 <= value < 1)


def choice(cfg: Any, group: str, **choices: Sequence[str]) -> None:
    for name, known in choices.items():
        each(cfg, group, [name], " or ".join(known), known.__contains__)


def folder_name(setting: str, name: str) -> None:
    require(bool(re.fullmatch(r"[^/\0]*\w[^/\0]*", name)), setting, "a name for a folder", name)
