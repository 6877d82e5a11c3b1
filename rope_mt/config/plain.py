"""Configurations from and to the plain dicts of checkpoints and result files."""

from dataclasses import asdict, fields, is_dataclass
from typing import Any

from rope_mt.config.commands import TrainConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.errors import UserError


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
        schema = OmegaConf.structured(TrainConfig)
        schema.position = OmegaConf.structured(schemes[plain["position"]["name"]])
        cfg = OmegaConf.to_object(OmegaConf.merge(schema, plain))
    except (OmegaConfBaseException, KeyError, TypeError) as error:
        raise UserError(f"the configuration is not one of this version of rope-mt: {error}".splitlines()[0]) from error
    assert isinstance(cfg, TrainConfig)
    return cfg


def identity(cfg: Any) -> dict[str, Any]:
    """The settings that change a result, as a plain dict: all fields but those marked `no_effect`."""
    kept = {}
    for setting in fields(cfg):
        if setting.metadata.get("identity", True):
            value = getattr(cfg, setting.name)
            kept[setting.name] = identity(value) if is_dataclass(value) else value
    return kept
