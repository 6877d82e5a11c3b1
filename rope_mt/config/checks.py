"""What settings are checked with: each check raises one line that names the setting and what it must be."""

import math
import re
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


def at_least(low: int, **settings: float | None) -> None:
    for setting, value in settings.items():
        if value is not None:  # null is right, or Hydra has refused it
            require(value >= low, setting.replace("__", "."), f"at least {low}", value)
            require(value < math.inf, setting.replace("__", "."), "finite", value)


def size(**settings: int | None) -> None:
    at_least(1, **settings)
    for setting, value in settings.items():
        require(value is None or value <= LARGEST, setting.replace("__", "."), f"at most {LARGEST:,}", value)


def above(low: int, **settings: float | None) -> None:
    for setting, value in settings.items():
        right = value is None or low < value < math.inf
        require(right, setting.replace("__", "."), f"above {low} and finite", value)


def choice(setting: str, value: str | None, *choices: str) -> None:
    require(value is None or value in choices, setting, " or ".join(choices), value)  # null as above


def folder_name(setting: str, name: str) -> None:
    require(bool(re.fullmatch(r"[^/\0]*\w[^/\0]*", name)), setting, "a name for a folder", name)


def fraction(setting: str, value: float) -> None:
    require(0 <= value < 1, setting, "at least 0 and below 1", value)
