"""One root for each command that Hydra reads, and their registration."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from rope_mt.config.checks import DEVICES, PRECISIONS, above, at_least, choice, folder_name, no_effect, require
from rope_mt.config.data import DataConfig
from rope_mt.config.files import read_yaml
from rope_mt.config.position import POSITION_CONFIGS, PositionConfig, PositionsConfig, RopeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.errors import UserError

# for the estimates of bench.count=true: TB/s and dense bf16 TFLOP/s of the data sheets
GPUS = {"H200": (4.8, 989.0), "H100": (3.35, 989.0), "A100": (2.04, 312.0), "RTX4090": (1.01, 165.0)}


@dataclass
class SweepConfig:
    """What concerns the jobs of one `rope-mt train -m` together; nothing to a single run but `published`."""

    name: str | None = None  # name of the sweep's folder and W&B group; null: what its jobs share and differ in
    fail_fast: bool = False  # start no further job after one has failed
    # folder of records: a job whose run is there counts as done, and the runs of the other jobs are added
    published: str | None = None
    tune: bool = False  # when all jobs are done, write the settings of each scheme's best run to sweep.tuned
    tuned: str | None = None  # YAML file with settings of each scheme, which experiment=news reads

    def __post_init__(self) -> None:
        if self.name is not None:
            folder_name("sweep.name", self.name)
        require(not self.tune or self.tuned is not None, "sweep.tuned", "a file where sweep.tune=true", self.tuned)


@dataclass
class TrainConfig:
    seed: int = 1  # of all random numbers, from 0 to 2**32 - 1
    overwrite: bool = no_effect(False)  # start a run anew that exists, instead of continuing it
    position: PositionConfig = MISSING
    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    trainer: TrainerConfig = MISSING
    search: SearchConfig = MISSING
    tracking: TrackingConfig = field(default=MISSING, metadata={"identity": False})
    sweep: SweepConfig = field(default_factory=SweepConfig, metadata={"identity": False})
    positions: PositionsConfig = field(default_factory=PositionsConfig, metadata={"identity": "unless default"})

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", "from 0 to 2**32 - 1", self.seed)
        longest, needed = getattr(self.position, "max_len", None), self.data.max_len
        last = self.positions.last(needed)
        if longest is not None:
            reason = f"data.max_len={needed}" if last == needed else f"{last}, the last position of positions.reach"
            require(longest >= last, "position.max_len", f"at least {reason}", longest)
        require(last >= needed, "positions.reach", f"above data.max_len={needed}", self.positions.reach)
        if isinstance(self.position, RopeConfig) and self.position.scaling in ("yarn", "dynamic"):
            self.position.trained = self.position.trained or needed


@dataclass
class PrepareConfig:
    data: DataConfig = MISSING


@dataclass
class BenchDataSettings:
    json: bool = False  # print JSON instead of a table
    # sentence pairs to cut or repeat the text to; null: the text as it is, or 4.5 million in the place of WMT14
    pairs: int | None = None
    text: Any = MISSING  # a prefix, or a list of prefixes and globs: text to take where the corpus is not there
    batch_tokens: list[int] = field(default_factory=lambda: [25_000, 64_000])  # values of data.batch_tokens to try


@dataclass
class BenchSchemesSettings:
    json: bool = False  # print JSON instead of a table
    schemes: list[str] | None = None  # null: all but the baseline; the baseline beside itself shows the method's error
    steps: int = 50  # measurements, each of two steps with either model


@dataclass
class CountSettings:
    """Of a subject whose work on a GPU can be counted without one."""

    count: bool = False  # measure nothing: count ops, bytes and FLOP of a step on a GPU, and estimate its time
    gpu: str = "H200"  # for the estimate: H200, H100, A100 or RTX4090
    bandwidth: float | None = None  # TB/s, and TFLOP/s in bf16, for the estimate; null: of the GPU's data sheet
    peak: float | None = None  # see bandwidth
    launch: float = 9.0  # microseconds that the host takes to start an op

    def __post_init__(self) -> None:
        choice(self, "bench.", gpu=[*GPUS])
        above(0, self, "bench.", "bandwidth", "peak")
        at_least(0, self, "bench.", "launch")


@dataclass
class BenchDecodeSettings(CountSettings):
    json: bool = False  # print JSON instead of a table
    systems: list[str] | None = None  # of rope-mt, transformers and ctranslate2; null: those that are installed
    sentences: int | None = None  # sentences of the test set, the first ones; null: all
    beam: int = 4  # hypotheses that are kept at each step
    rounds: int = 3  # repetitions, in each of which every system translates all sentences


@dataclass
class BenchTrainSettings(CountSettings):
    json: bool = False  # print JSON instead of a table
    steps: int = 100  # training steps to measure
    yardstick: bool = True  # measure torch.nn.Transformer beside
    compile: bool = False  # measure trainer.compile=true beside, on batches of two shapes


@dataclass
class BenchConfig:
    """What all subjects have; each has a root of its own below."""

    data: DataConfig = MISSING
    bench: Any = MISSING


@dataclass
class BenchOfTrainingConfig(BenchConfig):
    """What those have that train."""

    model: ModelConfig = MISSING
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: str = "auto"  # auto, bf16 or fp32; auto: bf16 where the processor computes in it

    def __post_init__(self) -> None:
        at_least(1, self.bench, "bench.", "steps")
        choice(self, "", device=DEVICES, precision=PRECISIONS)


@dataclass
class BenchDataConfig(BenchConfig):
    bench: BenchDataSettings = field(default_factory=BenchDataSettings)

    def __post_init__(self) -> None:
        bench = self.bench
        names = bench.text = [bench.text] if isinstance(bench.text, str) else bench.text
        text = isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)
        require(bool(text), "bench.text", "the name of a text or a list of names", names)
        at_least(1, bench, "bench.", "pairs")
        for budget in bench.batch_tokens:
            least = 2 * (self.data.max_len + 1)
            require(budget >= least, "bench.batch_tokens", f"at least {least}", budget)


@dataclass
class BenchSchemesConfig(BenchOfTrainingConfig):
    bench: BenchSchemesSettings = field(default_factory=BenchSchemesSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        for scheme in self.bench.schemes or []:
            require(scheme in POSITION_CONFIGS, "bench.schemes", " or ".join(POSITION_CONFIGS), scheme)


@dataclass
class BenchDecodeConfig(BenchConfig):
    bench: BenchDecodeSettings = field(default_factory=BenchDecodeSettings)
    model: ModelConfig = MISSING
    position: PositionConfig = MISSING
    device: str = "auto"  # auto, cpu, cuda or mps

    def __post_init__(self) -> None:
        bench = self.bench
        at_least(1, bench, "bench.", "beam", "rounds", "sentences")
        systems = ("rope-mt", "transformers", "ctranslate2")
        for system in bench.systems or []:
            require(system in systems, "bench.systems", " or ".join(systems), system)
        require("rope-mt" in (bench.systems or systems), "bench.systems", "a list with rope-mt", bench.systems)
        choice(self, "", device=DEVICES)


@dataclass
class BenchTrainConfig(BenchOfTrainingConfig):
    bench: BenchTrainSettings = field(default_factory=BenchTrainSettings)
    position: PositionConfig = MISSING


@dataclass
class SearchChange:
    """Search settings to change; null keeps what the run was trained with."""

    beam: int | None = None  # hypotheses that are kept at each step; 1: greedy search
    length_penalty: float | None = None  # exponent alpha, at least 0; larger prefers longer translations
    length_penalty_form: str | None = None  # fairseq or gnmt: length ** alpha, or ((5 + length) / 6) ** alpha
    max_len_a: float | None = None  # a hypothesis ends at max_len_a x source length + max_len_b tokens
    max_len_b: int | None = None  # tokens, see max_len_a
    batch_tokens: int | None = None  # source tokens that one thread decodes together, padding and beams counted


@dataclass
class PositionChange:
    """Settings of rope to change; null keeps what the run was trained with."""

    scaling: str | None = None  # none, linear, ntk, yarn or dynamic: other frequencies for longer sentences
    factor: float | None = None  # of scaling: how much longer than in training; 1 changes nothing, but for dynamic
    trained: int | None = None  # tokens of the longest sentence in training, for yarn and dynamic; null: data.max_len


@dataclass
class PositionsChange:
    eval: str | None = None  # consecutive or random, of a run with positions=random; null: as in training


@dataclass
class DataChange:
    """Another test set to score."""

    test: Any = None  # FILE.tsv, a PREFIX, another TEXT or a list; null: the test set of the run
    columns: list[int] = field(default_factory=lambda: [1, 2])  # columns of source and target, where it is a table


@dataclass
class EvalConfig:
    checkpoint: str = MISSING  # a run folder or one checkpoint; RUN alone means the same
    # which weights of a run: average, those of its own score; best, by validation BLEU; ema, of a run with trainer.ema;
    # lastN, the mean of the last N saved; or a step, a checkpoint folder, or a list as in [400,600]: the mean of them
    checkpoints: Any = "average"
    data: DataChange = field(default_factory=DataChange)
    search: SearchChange = field(default_factory=SearchChange)
    position: PositionChange = field(default_factory=PositionChange)
    positions: PositionsChange = field(default_factory=PositionsChange)
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: str | None = None  # auto, bf16 or fp32; null: as in training

    def __post_init__(self) -> None:
        named = self.checkpoints if isinstance(self.checkpoints, list) else [self.checkpoints]
        folder = r"(.*/)?(average|(step|best)-\d+)"
        folders = all(type(name) is int or re.fullmatch(folder, str(name)) for name in named)
        word = isinstance(self.checkpoints, str) and re.fullmatch("average|best|ema|last[1-9][0-9]*", self.checkpoints)
        must = "average, best, ema, lastN as in last5, or a list of steps and folders such as step-0000400"
        require(bool(word or (named and folders)), "checkpoints", must, self.checkpoints)
        choice(self, "", device=DEVICES, precision=PRECISIONS)


@dataclass
class TranslateSearch(SearchChange):
    # hypotheses of each sentence, at most search.beam; from 2 on a line is LINE NUMBER, TAB, SCORE, TAB, HYPOTHESIS
    nbest: int = 1

    def __post_init__(self) -> None:
        at_least(1, self, "search.", "nbest")


@dataclass
class TranslateSettings:
    input: str | None = None  # a file, plain, .gz or .xz; null: standard input
    output: str | None = None  # a file, written whole or not at all; null: standard output
    scores: bool = False  # begin lines with SCORE, TAB: the natural log-probability over the length penalty
    attention: str | None = None  # FILE.png to draw cross-attention into, for an input of one line

    def __post_init__(self) -> None:
        if self.output is not None:
            packed = self.output.endswith((".gz", ".xz"))
            require(not packed, "translate.output", "a name without .gz or .xz", self.output)
        if self.attention is not None:
            require(self.attention.endswith(".png"), "translate.attention", "a name that ends in .png", self.attention)


@dataclass
class TranslateConfig:
    checkpoint: str = MISSING  # a run folder or one checkpoint; RUN alone means the same
    translate: TranslateSettings = field(default_factory=TranslateSettings)
    search: TranslateSearch = field(default_factory=TranslateSearch)
    position: PositionChange = field(default_factory=PositionChange)
    positions: PositionsChange = field(default_factory=PositionsChange)
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: str | None = None  # auto, bf16 or fp32; null: as in training

    def __post_init__(self) -> None:
        choice(self, "", device=DEVICES, precision=PRECISIONS)


SCHEMAS = {"train": TrainConfig, "prepare": PrepareConfig, "eval": EvalConfig, "translate": TranslateConfig}
SCHEMAS |= {"bench": BenchConfig, "bench/data": BenchDataConfig, "bench/schemes": BenchSchemesConfig}
SCHEMAS |= {"bench/decode": BenchDecodeConfig, "bench/train": BenchTrainConfig}


def tuned(setting: str, _root_: Any) -> float:
    """What `${tuned:SETTING}` in conf/ stands for: the value in the file sweep.tuned for the scheme of the run.

    Raises:
        UserError: the file does not have it.
    """
    file, scheme = Path(_root_.sweep.tuned), _root_.position.name
    of_scheme = read_yaml(file).get(scheme, {}) if file.is_file() else {}
    if setting not in of_scheme:
        raise UserError(f"{file} has no {setting} for {scheme}: tune it first, or set what it is to be")
    return of_scheme[setting]


def register() -> None:
    """Tell Hydra the schemas of commands, as `schema/train` and `schema/bench/data`, and `schema/position/NAME`."""
    from hydra.core.config_store import ConfigStore

    OmegaConf.register_new_resolver("tuned", tuned, replace=True)
    schemes = {f"position/{name}": scheme for name, scheme in POSITION_CONFIGS.items()}
    for path, schema in {**SCHEMAS, **schemes}.items():
        group, _, name = f"schema/{path}".rpartition("/")
        ConfigStore.instance().store(group=group, name=name, node=schema)
