"""One root for each command that Hydra reads, and their registration."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from rope_mt.config.checks import at_least, choice, no_effect, require
from rope_mt.config.data import DataConfig
from rope_mt.config.position import POSITION_CONFIGS, PositionConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.errors import UserError


@dataclass
class TrainConfig:
    seed: int = 1
    overwrite: bool = no_effect(False)  # start again where a run half done or finished would be continued
    position: PositionConfig = MISSING
    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    trainer: TrainerConfig = MISSING
    search: SearchConfig = MISSING
    tracking: TrackingConfig = field(default=MISSING, metadata={"identity": False})

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", "from 0 to 2**32 - 1", self.seed)
        position, longest = self.position, getattr(self.position, "max_len", None)
        if longest is not None:
            shortest = self.data.max_len
            require(longest >= shortest, "position.max_len", f"at least data.max_len={shortest}", longest)
        if self.model.attention == "linear" and position.needs_scores:
            able = ", ".join(scheme.name for scheme in POSITION_CONFIGS if not scheme.needs_scores)
            raise UserError(
                f"position={position.name} acts on scores, and model.attention=linear has none: take one of {able}"
            )


@dataclass
class PrepareConfig:
    data: DataConfig = MISSING


@dataclass
class BenchDataSettings:
    json: bool = False  # print JSON instead of a table
    pairs: int | None = None  # cut or repeat the text to so many; None: as it is, and 4.5 million standing in for WMT14
    text: Any = MISSING  # a prefix or a list of prefixes and globs: what stands in for text that is not there
    batch_tokens: list[int] = field(default_factory=lambda: [25_000, 64_000])  # budgets to cut batches by


@dataclass
class BenchSchemesSettings:
    json: bool = False  # print JSON instead of a table
    schemes: list[str] | None = None  # None: all; the baseline beside itself shows how far the method can be trusted
    steps: int = 50  # measurements, each of two steps with either model


@dataclass
class BenchConfig:
    """What all subjects have; each has a root of its own below."""

    data: DataConfig = MISSING


@dataclass
class BenchDataConfig(BenchConfig):
    bench: BenchDataSettings = field(default_factory=BenchDataSettings)

    def __post_init__(self) -> None:
        bench = self.bench
        bench.text = [bench.text] if isinstance(bench.text, str) else bench.text
        if bench.pairs is not None:
            at_least(1, bench__pairs=bench.pairs)
        for budget in bench.batch_tokens:
            at_least(2 * (self.data.max_len + 1), bench__batch_tokens=budget)


@dataclass
class BenchSchemesConfig(BenchConfig):
    bench: BenchSchemesSettings = field(default_factory=BenchSchemesSettings)
    model: ModelConfig = MISSING
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        at_least(1, bench__steps=self.bench.steps)
        for scheme in self.bench.schemes or []:
            choice("bench.schemes", scheme, *(position.name for position in POSITION_CONFIGS))
        choice("device", self.device, "auto", "cpu", "cuda", "mps")
        choice("precision", self.precision, "auto", "bf16", "fp32")


@dataclass
class SearchChange:
    """Search settings to change for one evaluation; None keeps what the run was trained with."""

    beam: int | None = None
    length_penalty: float | None = None
    length_penalty_form: str | None = None
    max_len_a: float | None = None
    max_len_b: int | None = None
    batch_tokens: int | None = None


@dataclass
class DataChange:
    """Another test set for one evaluation; None keeps the run's own."""

    test: Any = None
    dir: str | None = None


@dataclass
class EvalConfig:
    checkpoint: str = MISSING  # a run folder, or one .ckpt file
    data: DataChange = field(default_factory=DataChange)
    search: SearchChange = field(default_factory=SearchChange)
    device: str = "auto"
    precision: str | None = None  # None: as in training

    def __post_init__(self) -> None:
        choice("device", self.device, "auto", "cpu", "cuda", "mps")
        if self.precision is not None:
            choice("precision", self.precision, "auto", "bf16", "fp32")


@dataclass
class TranslateConfig:
    checkpoint: str = MISSING
    search: SearchChange = field(default_factory=SearchChange)
    device: str = "auto"
    precision: str | None = None

    def __post_init__(self) -> None:
        choice("device", self.device, "auto", "cpu", "cuda", "mps")
        if self.precision is not None:
            choice("precision", self.precision, "auto", "bf16", "fp32")


def register() -> None:
    """Tell Hydra the schemas: roots as `schema/train` and so on, schemes as `schema/position/NAME`, and
    `schema/bench/SUBJECT`."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    roots = {"train": TrainConfig, "prepare": PrepareConfig, "eval": EvalConfig, "translate": TranslateConfig}
    roots["bench"] = BenchConfig
    for name, root in roots.items():
        store.store(group="schema", name=name, node=root)
    for scheme in POSITION_CONFIGS:
        store.store(group="schema/position", name=scheme.name, node=scheme)
    for subject, root in {"data": BenchDataConfig, "schemes": BenchSchemesConfig}.items():
        store.store(group="schema/bench", name=subject, node=root)
