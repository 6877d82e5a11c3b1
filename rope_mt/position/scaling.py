"""The frequencies of RoPE, which can be scaled after training for longer sentences."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.config.position import RopeConfig

FAST, SLOW = 32, 1  # full turns within the length of training, between which YaRN goes over to interpolation


def frequencies(cfg: RopeConfig, pairs: int, pos: Int[Tensor, "*batch len"]) -> Float[Tensor, "*places pairs"]:
    """The angle by which each pair is rotated per token: theta_i of eq. 15 after `scaling` and `kept`. Float32.

    - `linear` divides all by `factor`: position interpolation, Chen et al. 2023 (arXiv 2306.15595).
    - `ntk` takes a larger theta, which divides the lowest by `factor` and leaves the highest.
    - `dynamic` is `ntk` with a factor that grows with the length of the sentence beyond `trained`. Here each position
      has the frequencies of a sentence that ends there, as in decoding with a cache. So no token changes those before
      it, and scores no longer depend on distances alone.
    - `yarn` leaves pairs with many turns within `trained` tokens, interpolates those with less than one, and mixes in
      between: Peng et al. 2024 (arXiv 2309.00071), whose eq. for NTK-aware interpolation is that of `ntk`.
    """
    numbers = torch.arange(pairs, device=pos.device, dtype=torch.float32)
    theta, power = cfg.theta, pairs / max(1, pairs - 1)
    if cfg.scaling == "ntk":
        theta = theta * cfg.factor**power
    elif cfg.scaling == "dynamic":
        assert cfg.trained is not None
        beyond = (pos + 1 - cfg.trained).clamp(min=0).unsqueeze(-1) / cfg.trained
        theta = theta * (1 + cfg.factor * beyond) ** power
    scaled = theta ** (numbers / -pairs)
    if cfg.scaling == "linear":
        scaled = scaled / cfg.factor
    elif cfg.scaling == "yarn":
        scaled = scaled.lerp(scaled / cfg.factor, _interpolated(cfg, numbers))
    if cfg.kept < 1:
        scaled[..., max(1, round(cfg.kept * pairs)) :] = 0
    return scaled


def amplitude(cfg: RopeConfig) -> float:
    """By what rotated queries and keys are multiplied, and logits by its square: YaRN's sqrt(1/t)."""
    return 0.1 * math.log(cfg.factor) + 1 if cfg.scaling == "yarn" else 1.0


def _interpolated(cfg: RopeConfig, numbers: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """How far YaRN interpolates each pair, from 0 to 1; the bounds are whole pairs, as in the authors' code."""
    assert cfg.trained is not None
    pairs = len(numbers)
    first, last = (
        pairs * math.log(cfg.trained / (turns * 2 * math.pi)) / math.log(cfg.theta) for turns in (FAST, SLOW)
    )
    first, last = max(math.floor(first), 0), min(math.ceil(last), 2 * pairs - 1)
    return ((numbers - first) / max(last - first, 0.001)).clamp(0, 1)
