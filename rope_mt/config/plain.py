"""Configurations from the plain dicts that checkpoints, W&B and JSON keep, which `dataclasses.asdict` makes."""

import json
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rope_mt.config.commands import TrainConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.errors import UserError

# errors that values of a wrong kind may raise on the way to a configuration
WRONG = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)


def from_plain(plain: dict[str, Any]) -> TrainConfig:
    """Rebuild the typed configuration of a run from its plain dict; names no code, imports nothing.

    Raises:
        UserError: a key or scheme is unknown, a value has the wrong type or is out of range.
    """
    try:
        if "${" in json.dumps(plain):  # OmegaConf would put something else in its place
            raise ValueError("it refers to something else with ${...}")
        schema = OmegaConf.structured(TrainConfig)
        schema.position = OmegaConf.structured(POSITION_CONFIGS[plain["position"]["name"]])
        cfg = OmegaConf.to_object(OmegaConf.merge(schema, plain))
    except (OmegaConfBaseException, *WRONG) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"the configuration is not one of this version of rope-mt: {reason}") from error
    assert isinstance(cfg, TrainConfig)
    return cfg


def identity(cfg: Any) -> dict[str, Any]:
    """The settings that change a result, as a plain dict: none marked `no_effect`, and no default of those `added`."""
    kept = {}
    for setting in fields(cfg):
        counts, value = setting.metadata.get("identity", True), getattr(cfg, setting.name)
        default = setting.default if setting.default_factory is MISSING else setting.default_factory()
        if counts is True or (counts == "unless default" and value != default):
            kept[setting.name] = identity(value) if is_dataclass(value) else value
    return kept
