"""The model, and how it is trained, searched with and tracked."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from rope_mt.config.checks import (
    DEVICES,
    PRECISIONS,
    above,
    added,
    at_least,
    choice,
    folder_name,
    fraction,
    no_effect,
    require,
    size,
)


@dataclass
class ModelConfig:
    """An encoder-decoder Transformer (Vaswani et al. 2017) with shared source, target and output embeddings."""

    name: str = MISSING  # name of the size, which begins the names of its runs
    d_model: int = MISSING  # features of a token, a multiple of 2 * n_heads
    d_ff: int = MISSING  # features inside of a feed-forward layer
    n_heads: int = MISSING  # heads of each attention
    n_layers: int = MISSING  # layers of the encoder, and as many of the decoder
    dropout: float = MISSING  # probability, of embeddings and of each sublayer's output
    norm: str = "post"  # post or pre: LayerNorm after the residual sum, as in the paper, or before the sublayer
    attention: str = "softmax"  # softmax or linear (RoFormer eq. 17-19): self-attention of encoder and decoder
    feature_map: str = "elu"  # elu or favor: linear attention's elu + 1, or Performer's random features
    n_features: int = 256  # random features a head of feature_map=favor, an even number

    def __post_init__(self) -> None:
        folder_name("model.name", self.name)
        size(self, "model.", "d_model", "d_ff", "n_heads", "n_layers")
        d_head, rest = divmod(self.d_model, self.n_heads)
        require(rest == 0, "model.d_model", f"a multiple of n_heads={self.n_heads}", self.d_model)
        require(d_head % 2 == 0, "model.d_model / n_heads", "even", d_head)
        fraction(self, "model.", "dropout")
        choice(self, "model.", norm=["post", "pre"], attention=["softmax", "linear"], feature_map=["elu", "favor"])
        require(self.n_features > 0 and self.n_features % 2 == 0, "model.n_features", "even, above 0", self.n_features)
        alone = self.feature_map == "elu" or self.attention == "linear"
        require(alone, "model.feature_map", "elu without model.attention=linear", self.feature_map)
        alone = self.n_features == 256 or self.feature_map == "favor"
        require(alone, "model.n_features", "256 without model.feature_map=favor", self.n_features)


@dataclass
class OptimizerConfig:
    """Adam or Muon, with linear warm-up to the peak of the learning rate and one of two ways down from there."""

    lr: float = MISSING  # peak of the learning rate
    warmup_steps: int = MISSING  # updates until the learning rate reaches its peak
    name: str = "adam"  # adam or muon; muon updates the matrices of layers and schemes, and Adam all other weights
    beta1: float = 0.9  # Adam's decay of the mean of gradients
    beta2: float = 0.98  # Adam's decay of the mean of squared gradients
    eps: float = 1e-9  # Adam's addition to the denominator
    momentum: float = 0.95  # Muon's decay of the mean of gradients
    muon_lr: float | None = None  # peak for Muon's matrices; null: optimizer.lr, on which both scales agree roughly
    weight_decay: float = 0.0  # each update subtracts learning rate x weight_decay of every weight
    # inverse-sqrt: lr * sqrt(warmup_steps / step) after the peak; linear: down to 0 at trainer.max_steps
    schedule: str = "inverse-sqrt"
    cooldown: float = 1.0  # last fraction of the steps, in which schedule=linear falls; before it lr stays at the peak
    label_smoothing: float = 0.1  # probability that the target gives to all other tokens

    def __post_init__(self) -> None:
        above(0, self, "optimizer.", "lr", "eps", "muon_lr")
        at_least(1, self, "optimizer.", "warmup_steps")
        at_least(0, self, "optimizer.", "weight_decay")
        fraction(self, "optimizer.", "beta1", "beta2", "momentum", "label_smoothing")
        choice(self, "optimizer.", name=["adam", "muon"], schedule=["inverse-sqrt", "linear"])
        require(0 <= self.cooldown <= 1, "optimizer.cooldown", "from 0 to 1", self.cooldown)
        alone = self.muon_lr is None or self.name == "muon"
        require(alone, "optimizer.muon_lr", "null without optimizer.name=muon", self.muon_lr)
        alone = self.momentum == 0.95 or self.name == "muon"
        require(alone, "optimizer.momentum", "0.95 without optimizer.name=muon", self.momentum)
        alone = self.cooldown == 1 or self.schedule == "linear"
        require(alone, "optimizer.cooldown", "1 without optimizer.schedule=linear", self.cooldown)


@dataclass
class TrainerConfig:
    max_steps: int = MISSING  # optimizer updates
    val_every: int = MISSING  # updates from one validation and checkpoint to the next
    val_sentences: int = MISSING  # validation sentences translated for BLEU during training; the loss is over all
    # sentences of the validation set and of each test set that are translated at the end, the first ones; null: all
    test_sentences: int | None = added(None)
    # passes over the training text, as 20 or 0.5, which make trainer.max_steps once it is prepared; null: max_steps
    epochs: float | None = no_effect(None)
    # validations in a row without a lower loss than before that end the training; null: it ends at trainer.max_steps
    patience: int | None = added(None)
    accumulate: int = 1  # batches of each process that make one update, which is that of one batch as large as all
    average: int = 5  # last checkpoints whose weights are averaged for the final score, unless trainer.ema is set
    # decay of an exponential moving average of the weights, as 0.999; null: none. Validation, the best checkpoint and
    # the final score are then of this average
    ema: float | None = None
    clip: float = 1.0  # largest norm of the gradient
    # updates in a row that may be skipped because loss or gradient is not finite; one more ends the training
    max_skipped: int = no_effect(10)
    log_every: int = no_effect(50)  # updates from one logged line to the next
    # train on what torch.compile makes of encoder and decoder, a graph for each shape of batch; for a GPU, needs g++
    compile: bool = added(False)
    devices: Any = no_effect("auto")  # training processes on each machine; auto: one a GPU, and one on a CPU
    machines: int = no_effect(1)  # machines that train together, each started by torchrun; see conf/README.md
    device: str = no_effect("auto")  # auto, cpu, cuda or mps
    precision: str = "auto"  # auto, bf16 or fp32; auto: bf16 on a GPU that has it; on a CPU the faster, timed once

    def __post_init__(self) -> None:
        at_least(1, self, "trainer.", "max_steps", "val_every", "val_sentences", "test_sentences", "patience")
        at_least(1, self, "trainer.", "accumulate", "average", "log_every", "machines")
        at_least(0, self, "trainer.", "max_skipped")
        number = type(self.devices) is int and self.devices >= 1
        require(number or self.devices == "auto", "trainer.devices", "auto or at least 1", self.devices)
        above(0, self, "trainer.", "epochs", "clip")
        fraction(self, "trainer.", "ema")
        self.ema = self.ema or None
        choice(self, "trainer.", device=DEVICES, precision=PRECISIONS)


@dataclass
class SearchConfig:
    beam: int = MISSING  # hypotheses that are kept at each step; 1: greedy search
    length_penalty: float = MISSING  # exponent alpha, at least 0; larger prefers longer translations
    # fairseq or gnmt: scores are divided by length ** alpha, or by ((5 + length) / 6) ** alpha
    length_penalty_form: str = "fairseq"
    max_len_a: float = 1.5  # a hypothesis ends at max_len_a x source length + max_len_b tokens
    max_len_b: int = 10  # tokens, see max_len_a
    batch_tokens: int = 8_192  # source tokens that one thread decodes together, padding and beams counted

    def __post_init__(self) -> None:
        at_least(1, self, "search.", "beam", "max_len_b", "batch_tokens")
        at_least(0, self, "search.", "length_penalty", "max_len_a")
        choice(self, "search.", length_penalty_form=["fairseq", "gnmt"])
        bounds = {"beam": 1_000, "length_penalty": 10, "max_len_a": 100, "max_len_b": 10_000, "batch_tokens": 1 << 20}
        for name, most in bounds.items():  # a stranger's checkpoint could ask for days of work
            require(getattr(self, name) <= most, f"search.{name}", f"at most {most:,}", getattr(self, name))


@dataclass
class TrackingConfig:
    """Where metrics go. Nothing leaves the machine unless its owner is logged in to Weights & Biases.

    All but the name is for W&B.
    """

    name: str = "wandb"  # wandb, tensorboard, csv or none
    project: str | None = None  # project of the runs; null: WANDB_PROJECT, else rope-mt
    # auto, online, offline or disabled; auto: online when logged in, else offline; null: WANDB_MODE, else auto
    mode: str | None = None
    group: str | None = None  # group of the runs; null: WANDB_RUN_GROUP, else of a sweep its name, of a single run none
    tags: list[str] = field(default_factory=list)  # tags of the runs; [] for those of WANDB_TAGS
    artifacts: bool = False  # upload the averaged checkpoint and the translations of the test set as well

    def __post_init__(self) -> None:
        choice(self, "tracking.", name=["wandb", "tensorboard", "csv", "none"])
        modes = "auto", "online", "offline", "disabled"
        require((self.mode or "auto") in modes, "tracking.mode", " or ".join(modes), self.mode)
