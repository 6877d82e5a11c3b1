"""The position schemes: one dataclass each, chosen by `name` in rope_mt/position."""

from dataclasses import dataclass

from omegaconf import MISSING

from rope_mt.config.checks import at_least, choice, require


@dataclass
class PositionConfig:
    name: str = MISSING

    def __post_init__(self) -> None:
        choice("position.name", self.name, type(self).name)


@dataclass
class NoPositionConfig(PositionConfig):
    name: str = "none"


@dataclass
class SinusoidalConfig(PositionConfig):
    name: str = "sinusoidal-add"


@dataclass
class RelativeConfig(PositionConfig):
    name: str = "relative"
    clip: int = 16  # distances beyond it share one embedding; Shaw et al. 2018 use 16 for the base model

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, position__clip=self.clip)


@dataclass
class RopeConfig(PositionConfig):
    name: str = "rope"
    theta: float = 10_000.0  # base of the angles of eq. 15; a larger one turns more slowly with distance

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.theta > 1, "position.theta", "above 1", self.theta)


POSITION_CONFIGS: tuple[type[PositionConfig], ...] = (
    NoPositionConfig,
    SinusoidalConfig,
    RelativeConfig,
    RopeConfig,
)
