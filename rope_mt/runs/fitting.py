"""Whether weights are those that a configuration describes, found out before anything of the claimed sizes is made."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rope_mt.config.commands import TrainConfig
from rope_mt.data.tokenizer import PAD
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer


def refuse_unfit(path: Path, cfg: TrainConfig, vocab_size: int, weights: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and dtypes of weights with those of the model that is described.

    Args:
        path: what messages call them.
        vocab_size: pieces of the tokenizer.

    Raises:
        UserError: the first that does not fit.
    """
    unfit = f"{path}: the weights do not fit its configuration and vocabulary"
    for stack in ("encoder", "decoder"):
        layers = len({found[1] for name in weights if (found := re.match(rf"{stack}\.layers\.(\d+)\.", name))})
        if layers != cfg.model.n_layers:  # as many modules are made below
            raise UserError(f"{unfit}: they have {layers} layers in the {stack}, not {cfg.model.n_layers}")
    if cfg.model.attention == "linear" and cfg.model.feature_map == "favor":  # they are made block by block
        features = weights.get("encoder.layers.0.attention.features.directions")
        shape = "no" if features is None else tuple(features.shape)
        if features is None or cfg.model.n_features not in features.shape[:1]:
            raise UserError(f"{unfit}: they have {shape} random features, not {cfg.model.n_features}")
    try:
        with torch.device("meta"), _Unfilled():
            expected = Transformer(cfg.model, cfg.position, vocab_size, PAD).state_dict()
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{unfit}: there is no model of such sizes") from error
    for name, like in expected.items():
        if (found := weights.get(name)) is None:
            raise UserError(f"{unfit}: {name} is missing")
        if (found.shape, found.dtype, found.layout) != (like.shape, like.dtype, like.layout):
            shapes = [f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in (found, like)]
            raise UserError(f"{unfit}: {name} is {shapes[0]}, not {shapes[1]}")
    if more := weights.keys() - expected.keys():
        raise UserError(f"{unfit}: {min(more)!r} is none of its weights")


def refuse_no_numbers(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that translate nothing.

    Raises:
        UserError: one is not finite.
    """
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {name} is not finite, as where training has diverged: use another checkpoint")


class _Unfilled(TorchFunctionMode):
    """Draws no numbers for weights that have no memory, for which torch would load its compiler: a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in ("normal_", "uniform_", "xavier_uniform_", "orthogonal_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
