"""The schema of `conf/` and of what a checkpoint carries: every setting, its type, its default, its range.

Dataclasses are the schema, YAML files hold values. Hydra refuses a wrong key or type while it composes; a range is
checked in `__post_init__`, when the composed configuration becomes one of these objects. Nothing here imports torch.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING

from rope_mt.errors import UserError


def no_effect(default: Any) -> Any:
    """A field that cannot change the weights or scores of a run, and so stays out of the run's identity."""
    return field(default=default, metadata={"identity": False})


def _require(holds: bool, setting: str, must: str, value: object) -> None:
    if not holds:
        raise UserError(f"{setting} must be {must}, not {value!r}")


def _at_least(low: int, **settings: int | float) -> None:
    for setting, value in settings.items():
        _require(value >= low, setting.replace("__", "."), f"at least {low}", value)


def _choice(setting: str, value: str, *choices: str) -> None:
    _require(value in choices, setting, " or ".join(choices), value)


def _share(setting: str, value: float) -> None:
    _require(0 <= value < 1, setting, "at least 0 and below 1", value)


# ---- position: one dataclass a scheme, chosen by `name` in rope_mt/position --------------------------------------


@dataclass
class PositionConfig:
    name: str = MISSING

    def __post_init__(self) -> None:
        _choice("position.name", self.name, type(self).name)


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
        _at_least(1, position__clip=self.clip)


@dataclass
class RopeConfig(PositionConfig):
    name: str = "rope"
    theta: float = 10_000.0  # base of the angles of eq. 15; a larger one turns more slowly with distance

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.theta > 1, "position.theta", "above 1", self.theta)


POSITION_CONFIGS: tuple[type[PositionConfig], ...] = (
    NoPositionConfig,
    SinusoidalConfig,
    RelativeConfig,
    RopeConfig,
)


# ---- the other groups ---------------------------------------------------------------------------------------------


@dataclass
class ModelConfig:
    """An encoder-decoder Transformer (Vaswani et al. 2017) with shared source, target and output embeddings."""

    name: str = MISSING
    d_model: int = MISSING
    d_ff: int = MISSING
    n_heads: int = MISSING
    n_layers: int = MISSING  # in the encoder, and as many in the decoder
    dropout: float = MISSING  # of embeddings and of each sublayer's output
    norm: str = "post"  # LayerNorm after the residual sum, as in the paper, or "pre": before the sublayer

    def __post_init__(self) -> None:
        sizes = {"d_model": self.d_model, "d_ff": self.d_ff, "n_heads": self.n_heads, "n_layers": self.n_layers}
        _at_least(1, **{f"model__{k}": v for k, v in sizes.items()})
        _require(
            self.d_model % self.n_heads == 0, "model.d_model", f"a multiple of n_heads={self.n_heads}", self.d_model
        )
        _require(self.d_model // self.n_heads % 2 == 0, "model.d_model / n_heads", "even", self.d_model // self.n_heads)
        _share("model.dropout", self.dropout)
        _choice("model.norm", self.norm, "post", "pre")


@dataclass
class Recipe:
    """What training on a corpus of this size needs; trainer, optimizer and model take it unless told otherwise."""

    max_steps: int = 100_000
    val_every: int = 2_000  # steps from one validation and checkpoint to the next
    val_sentences: int = 500
    warmup_steps: int = 4_000
    lr: float = 7e-4
    dropout: float = 0.1


@dataclass
class ArchiveConfig:
    """A tar archive on the web with text in it. Archives that name the same text are put one after the other."""

    text: str = MISSING  # the prefix that its members become
    url: str = MISSING
    members: dict[str, str] = MISSING  # language -> name of the file in the archive, whatever folder it is in there
    check: str = MISSING  # sha256:HEX or md5:HEX
    size: int | None = None  # bytes, where they are known

    def __post_init__(self) -> None:
        known = re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", self.check)
        _require(
            bool(known), f"data.archives of {self.url}: check", "sha256: or md5: and lower-case digits", self.check
        )
        if self.size is not None:
            _at_least(1, **{f"data.archives of {self.url}: size": self.size})


@dataclass
class ParquetConfig:
    """The same text in Parquet files, as Hugging Face has it: a column `translation` with a field a language."""

    text: str = MISSING
    files: list[str] = MISSING  # below the mirror
    pairs: int = MISSING


@dataclass
class DataConfig:
    """A parallel corpus. PREFIX means the two files PREFIX.en and PREFIX.de, plain, .gz or .xz."""

    name: str = MISSING
    train: Any = no_effect(MISSING)  # a prefix, or a list of prefixes and globs; what the files hold is counted,
    valid: Any = no_effect(MISSING)  # not what they are called (corpus.fingerprint)
    test: Any = no_effect(MISSING)
    src_lang: str = "en"
    tgt_lang: str = "de"
    origin: str = no_effect("")  # where missing files come from: "grammar", or the address of PREFIX.LANG.gz
    archives: list[ArchiveConfig] = field(default_factory=list, metadata={"identity": False})
    parquet: list[ParquetConfig] = field(default_factory=list, metadata={"identity": False})
    mirror: str = no_effect("")  # a folder or address with the archives or Parquet files, instead of their own site
    disk: float = no_effect(0.0)  # GB that fetching and preparing takes, archives, text and token ids together
    clean: str = "standard"  # or fairseq: which pairs are too long or too unlike in length (rope_mt/data/clean.py)
    drop_identical: bool = False  # leave out pairs whose sides are the same
    drop_duplicates: bool = False  # leave out all but the first of equal pairs
    tokenizer: str = "bpe"  # or unigram: how the joint SentencePiece model is made
    vocab_size: int = 8_000  # its pieces
    batch_tokens: int = 4_096  # slots of both sides: (longest source + longest target) x pairs
    max_len: int = 256  # training examples with more tokens on a side are left out
    context_tokens: int | None = None  # join consecutive sentences of a document, up to so many tokens a side
    sampling: float = 0.0  # subword regularisation of the training text: BPE dropout, or unigram's alpha
    workers: int = no_effect(0)  # processes that assemble batches beside the training process
    dir: str = no_effect("data")  # where prepared corpora are kept
    recipe: Recipe = field(default_factory=Recipe, metadata={"identity": False})  # counted where it takes effect

    def __post_init__(self) -> None:
        for part in ("train", "valid", "test"):
            given = getattr(self, part)
            setattr(self, part, [given] if isinstance(given, str) else given)
            names = getattr(self, part)
            well = isinstance(names, list) and names and all(isinstance(n, str) and n for n in names)
            _require(bool(well), f"data.{part}", "a prefix or a list of prefixes", given)
        _require(self.src_lang != self.tgt_lang, "data.tgt_lang", "another language than data.src_lang", self.tgt_lang)
        _require(300 <= self.vocab_size <= 65_535, "data.vocab_size", "from 300 to 65535", self.vocab_size)
        _at_least(1, data__max_len=self.max_len)
        # the end-of-sentence token counts on both sides
        _at_least(2 * (self.max_len + 1), data__batch_tokens=self.batch_tokens)
        _at_least(0, data__workers=self.workers)
        _choice("data.clean", self.clean, "standard", "fairseq")
        _choice("data.tokenizer", self.tokenizer, "bpe", "unigram")
        _share("data.sampling", self.sampling)
        if self.context_tokens is not None:
            _at_least(1, data__context_tokens=self.context_tokens)
            _at_least(self.context_tokens, data__max_len=self.max_len)


@dataclass
class OptimizerConfig:
    """Adam with linear warm-up, then lr * sqrt(warmup_steps / step)."""

    lr: float = MISSING  # the peak, reached at warmup_steps
    warmup_steps: int = MISSING
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-9
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        _require(self.lr > 0, "optimizer.lr", "above 0", self.lr)
        _at_least(1, optimizer__warmup_steps=self.warmup_steps)
        _share("optimizer.beta1", self.beta1)
        _share("optimizer.beta2", self.beta2)
        _require(self.eps > 0, "optimizer.eps", "above 0", self.eps)
        _share("optimizer.label_smoothing", self.label_smoothing)


@dataclass
class TrainerConfig:
    max_steps: int = MISSING  # optimizer updates; training ends there, never by the clock
    val_every: int = MISSING  # steps from one validation and checkpoint to the next
    val_sentences: int = MISSING  # of the validation set, translated greedily for BLEU in the loop; the loss uses all
    average: int = 5  # checkpoints whose weights are averaged for the final score
    clip: float = 1.0  # largest gradient norm
    log_every: int = no_effect(50)  # steps
    device: str = no_effect("auto")  # auto, cpu, cuda or mps
    precision: str = "auto"  # bf16 or fp32; auto: bf16 where the processor has it natively

    def __post_init__(self) -> None:
        positive = {"max_steps": self.max_steps, "val_every": self.val_every, "val_sentences": self.val_sentences}
        positive |= {"average": self.average, "log_every": self.log_every}
        _at_least(1, **{f"trainer__{k}": v for k, v in positive.items()})
        _require(self.clip > 0, "trainer.clip", "above 0", self.clip)
        _choice("trainer.device", self.device, "auto", "cpu", "cuda", "mps")
        _choice("trainer.precision", self.precision, "auto", "bf16", "fp32")


@dataclass
class SearchConfig:
    beam: int = MISSING  # 1 is greedy search
    length_penalty: float = MISSING  # alpha: log-probabilities are divided by length ** alpha
    max_len_a: float = 1.5  # a hypothesis ends at max_len_a * source length + max_len_b tokens
    max_len_b: int = 10
    batch_tokens: int = 8_192  # slots of sources decoded together, beams counted

    def __post_init__(self) -> None:
        _at_least(1, search__beam=self.beam, search__max_len_b=self.max_len_b, search__batch_tokens=self.batch_tokens)
        _at_least(0, search__length_penalty=self.length_penalty, search__max_len_a=self.max_len_a)


@dataclass
class TrackingConfig:
    """What Weights & Biases is told. Nothing leaves the machine unless its owner is logged in there."""

    name: str = "wandb"  # or "none"
    project: str = "rope-mt"
    mode: str = "auto"  # auto: online when logged in, else offline; or online, offline, disabled
    group: str | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _choice("tracking.name", self.name, "wandb", "none")
        _choice("tracking.mode", self.mode, "auto", "online", "offline", "disabled")


# ---- one root for each command that Hydra reads -------------------------------------------------------------------


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
        _require(0 <= self.seed < 2**32, "seed", "from 0 to 2**32 - 1", self.seed)


@dataclass
class PrepareConfig:
    data: DataConfig = MISSING


@dataclass
class BenchSettings:
    subject: str = MISSING  # data
    json: bool = False  # print JSON instead of a table
    pairs: int | None = None  # cut or repeat the text to so many; None: as it is, and 4.5 million standing in for WMT14
    text: Any = MISSING  # a prefix or a list of prefixes and globs: what stands in for text that is not there
    batch_tokens: list[int] = field(default_factory=lambda: [25_000, 64_000])  # budgets to cut batches by


@dataclass
class BenchConfig:
    bench: BenchSettings = field(default_factory=BenchSettings)
    data: DataConfig = MISSING

    def __post_init__(self) -> None:
        bench = self.bench
        _choice("bench.subject", bench.subject, "data")
        bench.text = [bench.text] if isinstance(bench.text, str) else bench.text
        if bench.pairs is not None:
            _at_least(1, bench__pairs=bench.pairs)
        for budget in bench.batch_tokens:
            _at_least(2 * (self.data.max_len + 1), bench__batch_tokens=budget)


@dataclass
class SearchChange:
    """Search settings to change for one evaluation; None keeps what the run was trained with."""

    beam: int | None = None
    length_penalty: float | None = None
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
        _choice("device", self.device, "auto", "cpu", "cuda", "mps")
        if self.precision is not None:
            _choice("precision", self.precision, "auto", "bf16", "fp32")


@dataclass
class TranslateConfig:
    checkpoint: str = MISSING
    search: SearchChange = field(default_factory=SearchChange)
    device: str = "auto"
    precision: str | None = None

    def __post_init__(self) -> None:
        _choice("device", self.device, "auto", "cpu", "cuda", "mps")
        if self.precision is not None:
            _choice("precision", self.precision, "auto", "bf16", "fp32")


def register() -> None:
    """Tell Hydra the schemas: roots as `schema/train` and so on, schemes as `schema/position/NAME`."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    roots = {"train": TrainConfig, "prepare": PrepareConfig, "eval": EvalConfig, "translate": TranslateConfig}
    roots["bench"] = BenchConfig
    for name, root in roots.items():
        store.store(group="schema", name=name, node=root)
    for scheme in POSITION_CONFIGS:
        store.store(group="schema/position", name=scheme.name, node=scheme)


# ---- objects from and to the plain dicts of checkpoints and result files --------------------------------------------


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
        position = schemes[plain["position"]["name"]]
        schema = OmegaConf.structured(TrainConfig(position=position()))
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
