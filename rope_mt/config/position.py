"""The position schemes: one dataclass each, chosen by `name` in rope_mt/position."""

from dataclasses import dataclass

from omegaconf import MISSING

from rope_mt.config.checks import above, added, at_least, choice, require, size

SCALINGS = ("none", "linear", "ntk", "yarn", "dynamic")


@dataclass
class PositionConfig:
    name: str = MISSING  # name of the scheme

    def __post_init__(self) -> None:
        """Check the name, and the settings that have one meaning in each scheme that has them."""
        choice(self, "position.", name=[type(self).name])
        size(self, "position.", *({"max_len", "clip"} & vars(self).keys()))
        above(1, self, "position.", *({"theta"} & vars(self).keys()))


@dataclass
class NoPositionConfig(PositionConfig):
    name: str = "none"


@dataclass
class SinusoidalConfig(PositionConfig):
    name: str = "sinusoidal-add"


@dataclass
class LearnedConfig(PositionConfig):
    name: str = "learned"
    max_len: int = 1024  # tokens of the longest sentence that the table has a vector for each position of


@dataclass
class RelativeConfig(PositionConfig):
    name: str = "relative"
    clip: int = 16  # tokens; longer distances share one embedding. Shaw et al. 2018 use 16 for the base model
    values: bool = True  # embed the distance in the values too; table 3 of the paper finds nothing lost without it


@dataclass
class TransformerXLConfig(PositionConfig):
    name: str = "transformer-xl"


@dataclass
class T5Config(PositionConfig):
    name: str = "t5"


@dataclass
class TupeConfig(PositionConfig):
    name: str = "tupe"
    max_len: int = 1024  # tokens of the longest sentence that the table has a vector for each position of


@dataclass
class DebertaConfig(PositionConfig):
    name: str = "deberta"
    clip: int = 512  # tokens; longer distances share one embedding. He et al. 2021 use 512


@dataclass
class AlibiConfig(PositionConfig):
    name: str = "alibi"
    sides: str = added("both")  # both or split: in the encoder all heads look to both sides, or half of them to each

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self, "position.", sides=["both", "split"])


@dataclass
class KerpleConfig(PositionConfig):
    name: str = "kerple"


@dataclass
class FireConfig(PositionConfig):
    name: str = "fire"
    # tokens, times a learned number: distances of later queries are compared with their position. Li et al. 2024 begin
    # with a quarter of the length of training
    threshold: float = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        above(0, self, "position.", "threshold")


@dataclass
class PopeConfig(PositionConfig):
    name: str = "pope"
    theta: float = 10_000.0  # base of the angles, as rope's; each feature has one, where rope has one a pair


@dataclass
class RopeConfig(PositionConfig):
    name: str = "rope"
    theta: float = 10_000.0  # base of the angles of eq. 15; a larger one rotates more slowly with distance
    layout: str = "interleaved"  # interleaved or half: pairs are adjacent features (eq. 15), or half a head apart
    fraction: float = 1.0  # of each head's features that is rotated, the first ones; above 0 and at most 1
    # of the rotated pairs that are rotated after all: the angles of the lowest frequencies are 0; above 0, at most 1
    kept: float = added(1.0)
    # none, linear, ntk, yarn or dynamic: other frequencies for sentences that are longer than in training
    scaling: str = added("none")
    factor: float = added(1.0)  # of scaling: how much longer; 1 changes nothing, but for dynamic
    # tokens of the longest sentence in training, for yarn and dynamic; null: data.max_len
    trained: int | None = added(None)
    cross_attention: bool = False  # rotate there too: queries by target position, keys by source position

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self, "position.", layout=["interleaved", "half"], scaling=SCALINGS)
        require(0 < self.fraction <= 1, "position.fraction", "above 0 and at most 1", self.fraction)
        require(0 < self.kept <= 1, "position.kept", "above 0 and at most 1", self.kept)
        at_least(1, self, "position.", "factor", "trained")
        scaled = self.factor == 1 or self.scaling != "none"
        require(scaled, "position.factor", "1 without position.scaling", self.factor)

    def rotated_features(self, d_head: int) -> int:
        """How many features of a head are rotated: an even number, and two at least."""
        return 2 * max(1, round(self.fraction * d_head / 2))


POSITION_CONFIGS = {scheme.name: scheme for scheme in PositionConfig.__subclasses__()}


@dataclass
class PositionsConfig:
    """The positions of a sentence's tokens in training, for every scheme alike; each side has its own."""

    name: str = "consecutive"  # consecutive, shifted or random
    reach: int = 0  # the largest shift of shifted; random positions are below it
    eval: str = "consecutive"  # consecutive or random: positions in tests. The loss in validation has consecutive ones

    def __post_init__(self) -> None:
        choice(self, "positions.", name=["consecutive", "shifted", "random"], eval=["consecutive", "random"])
        trained = self.eval == "consecutive" or self.name == "random"
        require(trained, "positions.eval", "consecutive without positions=random", self.eval)
        if self.name == "consecutive":
            require(self.reach == 0, "positions.reach", "0 without positions=shifted or positions=random", self.reach)
        else:
            at_least(1, self, "positions.", "reach")

    def last(self, max_len: int) -> int:
        """The largest position of a sentence of `max_len` tokens, without eos."""
        return {"consecutive": max_len, "shifted": self.reach + max_len, "random": self.reach - 1}[self.name]
