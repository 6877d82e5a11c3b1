"""Positions that are drawn at random, so that a model learns to use those beyond the lengths of its training."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.config.position import PositionsConfig


def draws(cfg: PositionsConfig) -> int:
    """The number of random numbers that the positions of a sentence take."""
    return cfg.reach if cfg.name == "random" else 1


def drawn(
    cfg: PositionsConfig, uniform: Float[Tensor, "batch draws"], lengths: Int[Tensor, " batch"], width: int
) -> Int[Tensor, "batch width"]:
    """The position of each token of each sentence.

    - `shifted`: m + k, with k uniform in 0..reach, one for all tokens: SHAPE, Kiyono et al. 2021 (arXiv 2109.05644).
    - `random`: as many of 0..reach-1 as the sentence has tokens, without replacement, in ascending order: Ruoss et al.
      2023 (arXiv 2305.16843).

    Args:
        uniform: random numbers from 0 to 1; on any device, and nothing waits for it.
        lengths: tokens of each sentence with eos, at most `reach`; padding behind them has some position below it.
        width: tokens and padding, at most `reach`.
    """
    places = torch.arange(width, device=lengths.device)
    uniform = uniform.to(lengths.device)
    if cfg.name == "shifted":
        return places + (uniform * (cfg.reach + 1)).long()
    chosen = uniform.argsort(dim=1)[:, :width]
    return chosen.masked_fill(places >= lengths[:, None], cfg.reach - 1).sort(dim=1).values
