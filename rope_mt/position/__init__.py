"""How position enters attention. `SCHEMES` is the only place that lists the schemes."""

from rope_mt.config.position import PositionConfig, RopeConfig
from rope_mt.config.training import ModelConfig
from rope_mt.errors import UserError
from rope_mt.position.absolute import LearnedPosition, NoPosition, SinusoidalPosition
from rope_mt.position.bias import AlibiPosition, FirePosition, KerplePosition, T5Position
from rope_mt.position.decomposed import DebertaPosition, TransformerXLPosition, TupePosition
from rope_mt.position.polar import PopePosition
from rope_mt.position.relative import RelativePosition
from rope_mt.position.rotary import RotaryPosition
from rope_mt.position.scheme import AttentionShape, Placed, PositionScheme

__all__ = ["SCHEMES", "AttentionShape", "Placed", "PositionScheme", "build_position", "refuse_linear_attention"]

SCHEMES: dict[str, type[PositionScheme]] = {
    "none": NoPosition,
    "sinusoidal-add": SinusoidalPosition,
    "learned": LearnedPosition,
    "relative": RelativePosition,
    "transformer-xl": TransformerXLPosition,
    "t5": T5Position,
    "tupe": TupePosition,
    "deberta": DebertaPosition,
    "alibi": AlibiPosition,
    "kerple": KerplePosition,
    "fire": FirePosition,
    "pope": PopePosition,
    "rope": RotaryPosition,
}


def refuse_linear_attention(cfg: PositionConfig, model: ModelConfig) -> None:
    """Refuse a scheme that acts on scores where `model.attention` makes none.

    Raises:
        UserError: it is so, or a setting of rope does not go with it.
    """
    if model.attention != "linear":
        return
    if SCHEMES[cfg.name].acts_on_scores():
        able = ", ".join(name for name, scheme in SCHEMES.items() if not scheme.acts_on_scores())
        raise UserError(f"position={cfg.name} acts on scores, and model.attention=linear has none: take one of {able}")
    if isinstance(cfg, RopeConfig) and cfg.scaling == "yarn":
        raise UserError("position.scaling=yarn makes scores larger, and model.attention=linear has none: take another")
    if isinstance(cfg, RopeConfig) and cfg.cross_attention and model.feature_map == "favor":
        features = "model.feature_map=favor rotates random features, which cross-attention has not"
        raise UserError(f"{features}: leave out position.cross_attention=true, or take model.feature_map=elu")


def build_position(cfg: PositionConfig, shape: AttentionShape) -> PositionScheme:
    """Make the scheme that `cfg.name` names, for one stack or one layer of it."""
    return SCHEMES[cfg.name](cfg, shape)
