"""How position enters attention. `SCHEMES` is the only place that lists the schemes."""

from rope_mt.config.position import PositionConfig
from rope_mt.position.absolute import NoPosition, SinusoidalPosition
from rope_mt.position.relative import RelativePosition
from rope_mt.position.rotary import RotaryPosition
from rope_mt.position.scheme import AttentionShape, PositionScheme

__all__ = ["SCHEMES", "AttentionShape", "PositionScheme", "build_position"]

SCHEMES: dict[str, type[PositionScheme]] = {
    "none": NoPosition,
    "sinusoidal-add": SinusoidalPosition,
    "relative": RelativePosition,
    "rope": RotaryPosition,
}


def build_position(cfg: PositionConfig, shape: AttentionShape) -> PositionScheme:
    """Make the scheme that `cfg.name` names, for one stack or one layer of it."""
    return SCHEMES[cfg.name](cfg, shape)
