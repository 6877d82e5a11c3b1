"""What a checkpoint carries: weights, configuration and tokenizer, as plain values that can run no code."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rope_mt.config.commands import TrainConfig
from rope_mt.config.plain import from_plain, to_plain
from rope_mt.data.tokenizer import Tokenizer
from rope_mt.durable import whole_file
from rope_mt.errors import UserError

FORMAT = 1
PREFIX = "model."  # of the Transformer's weights inside the LightningModule


@dataclass(frozen=True)
class Checkpoint:
    """All that translating needs. A training checkpoint holds the optimizer and the loops besides."""

    config: TrainConfig
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    step: int
    path: Path


def contents(cfg: TrainConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """What is added to the weights so that a checkpoint knows what it is."""
    return {"format": FORMAT, "config": to_plain(cfg), "tokenizer": tokenizer.model}


def write(path: Path, values: dict[str, Any]) -> None:
    with whole_file(path) as file:
        torch.save(values, file)


def read(path: Path) -> dict[str, Any]:
    """The plain dict of a checkpoint file, its tensors on the CPU.

    Raises:
        UserError: the file is missing, unreadable, damaged, or not a checkpoint of this project.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"no such checkpoint: {path}") from error
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is damaged or not a checkpoint of rope-mt") from error
    ours = values.get("rope_mt") if isinstance(values, dict) else None
    if not isinstance(ours, dict) or not isinstance(values.get("state_dict"), dict):
        raise UserError(f"{path} is not a checkpoint of rope-mt")
    if ours.get("format") != FORMAT:
        raise UserError(f"{path} has format {ours.get('format')}; this version of rope-mt reads format {FORMAT}")
    return values


def load(path: Path) -> Checkpoint:
    """Read what translating needs from a .ckpt file, a run folder's averaged weights, or an exported folder.

    Raises:
        UserError: see `read`; or the folder holds no finished run.
    """
    from rope_mt.runs import exported  # which imports this module

    if exported.looks_exported(path):
        return exported.read(path)
    if path.is_dir():
        folder, path = path, path / "checkpoints" / "average.ckpt"
        if not path.is_file():
            raise UserError(f"{folder} holds no finished run: name one of the files in {path.parent}, or train on")
    values = read(path)
    ours = values["rope_mt"]
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in values["state_dict"].items()}
    return Checkpoint(from_plain(ours["config"]), Tokenizer(ours["tokenizer"]), weights, values["global_step"], path)


def average(paths: list[Path]) -> dict[str, Any]:
    """The mean of the weights of these checkpoints, and the rest of what translating needs from the last."""
    last = read(paths[-1])
    total: dict[str, Tensor] = {}
    for path in paths:
        for name, tensor in read(path)["state_dict"].items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    mean = {name: (tensor / len(paths)).to(last["state_dict"][name].dtype) for name, tensor in total.items()}
    return {"state_dict": mean, "rope_mt": last["rope_mt"], "global_step": last["global_step"]}
