"""Configurations from and to the plain dicts of checkpoints and result files."""

from dataclasses import asdict, fields, is_dataclass
from typing import Any

from rope_mt.config.commands import TrainConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.errors import UserError

WRONG = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)  # what else may be raised
MOST_VALUES, LONGEST = 10_000, 100_000  # of settings that anybody may have written: so many, and characters of one


def to_plain(cfg: Any) -> dict[str, Any]:
    """The configuration as a dict of plain values, as checkpoints, W&B and JSON keep it."""
    return asdict(cfg)


def from_plain(plain: dict[str, Any]) -> TrainConfig:
    """Rebuild the typed configuration of a run from what `to_plain` gave; names no code, imports nothing.

    Raises:
        UserError: a key or scheme is unknown, a value has the wrong type or is out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schemes = {scheme.name: scheme for scheme in POSITION_CONFIGS}
    try:
        _refuse_strange(plain)
        schema = OmegaConf.structured(TrainConfig)
        schema.position = OmegaConf.structured(schemes[plain["position"]["name"]])
        cfg = OmegaConf.to_object(OmegaConf.merge(schema, plain))
    except (OmegaConfBaseException, *WRONG) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"the configuration is not one of this version of rope-mt: {said}") from error
    assert isinstance(cfg, TrainConfig)
    return cfg


def _refuse_strange(plain: Any) -> None:
    """Refuse what is no tree of plain values, and text that OmegaConf would put something else in the place of.

    Raises:
        ValueError: it is so.
    """
    left, seen = [plain], 0
    while left:
        value, seen = left.pop(), seen + 1
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        elif isinstance(value, str):
            if "${" in value or len(value) > LONGEST:
                raise ValueError(f"{value[:40]!r} is not plain text")
        elif not (value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 1 << 62)):
            raise ValueError(f"there is a value of type {type(value).__name__}, or a number out of all bounds")
        if seen + len(left) > MOST_VALUES:
            raise ValueError("there are too many values")


def identity(cfg: Any) -> dict[str, Any]:
    """The settings that change a result, as a plain dict: all fields but those marked `no_effect`."""
    kept = {}
    for setting in fields(cfg):
        if setting.metadata.get("identity", True):
            value = getattr(cfg, setting.name)
            kept[setting.name] = identity(value) if is_dataclass(value) else value
    return kept
