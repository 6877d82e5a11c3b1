"""What a checkpoint carries: weights, configuration and tokenizer, as plain values that can run no code."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rope_mt.config.commands import TrainConfig
from rope_mt.config.plain import from_plain, identity, to_plain
from rope_mt.data.tokenizer import Tokenizer
from rope_mt.errors import UserError
from rope_mt.runs import archive
from rope_mt.runs.fitting import refuse_unfit
from rope_mt.system.files import write_whole

FORMAT = 2
OTHER = "use another one"  # what to do about one that is damaged, where nobody says better
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
    buffer = io.BytesIO()  # torch.save hides an error of the disk
    torch.save(values, buffer)
    archive.seal(buffer, io.BytesIO(buffer.getvalue()))
    write_whole(path, buffer.getvalue())


def read(path: Path, remedy: str = OTHER) -> dict[str, Any]:
    """The plain dict of a checkpoint file, its tensors on the CPU; all bytes are compared with their check sums.

    Raises:
        UserError: the file is missing, unreadable, damaged, of another version, or not a checkpoint of this project.
    """
    try:
        with open(path, "rb") as file:
            archive.refuse_unsound(file)
            file.seek(0)
            values = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"no such checkpoint: {path}") from error
    except Exception as error:  # whatever torch, zipfile and pickle make of what anybody may have written
        said = "is damaged, of another version of rope-mt, or not a checkpoint of rope-mt"
        raise UserError(f"{path} {said}: {remedy}") from error
    ours = values.get("rope_mt") if isinstance(values, dict) else None
    if not isinstance(ours, dict):
        raise UserError(f"{path} is not a checkpoint of rope-mt")
    if ours.get("format") != FORMAT:
        its = ours.get("format")
        known = f"format {its}" if type(its) is int and abs(its) < 1 << 62 else "an unknown format"
        raise UserError(f"{path} has {known}; this version of rope-mt reads format {FORMAT}")
    sound = isinstance(ours.get("config"), dict) and isinstance(ours.get("tokenizer"), bytes)
    steps = (values.get("global_step"), ours.get("tokens_seen", 0))
    sound &= all(type(n) is int and 0 <= n < 1 << 62 for n in steps)
    for weights in (values.get("state_dict"), values.get("ema", {})):
        sound &= isinstance(weights, dict) and all(
            isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()
        )
    if not sound:
        raise UserError(f"{path} has not what a checkpoint of rope-mt has: {remedy}")
    return values


def load(path: Path) -> Checkpoint:
    """Read what translating needs from a .ckpt file, or from a run folder's averaged weights.

    Raises:
        UserError: see `read`; or the folder holds no finished run.
    """
    if path.is_dir():
        folder, path = path, path / "checkpoints" / "average.ckpt"
        if not path.is_file():
            if (folder / "result.json").is_file() and not any(path.parent.glob("*.ckpt")):
                raise UserError(f"{folder} is a record, without weights: train the run to have them")
            if (folder / "result.json").is_file():
                raise UserError(f"{path} is not there: name one of the other files beside it")
            raise UserError(f"{folder} holds no finished run: name one of the files in {path.parent}, or train on")
    return from_values(read(path), path)


def from_values(values: Mapping[str, Any], path: Path) -> Checkpoint:
    """What translating needs of the dict of a checkpoint; `path` is what messages call it.

    Raises:
        UserError: its configuration is none, or its weights do not fit configuration and tokenizer.
    """
    ours = values["rope_mt"]
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in values["state_dict"].items()}
    try:
        config, tokenizer = from_plain(ours["config"]), Tokenizer(ours["tokenizer"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    refuse_unfit(path, config, len(tokenizer), weights)
    return Checkpoint(config, tokenizer, weights, values["global_step"], path)


def average(paths: list[Path], remedy: str = OTHER) -> dict[str, Any]:
    """The mean of the weights of these checkpoints, summed in double, and the rest of what translating needs.

    The rest is the last one's. Kept in memory are the sum and one checkpoint.

    Raises:
        UserError: one is not a checkpoint, or they are not of one configuration, tokenizer and shape.
    """
    values = read(paths[0], remedy)
    from_values(values, paths[0])  # a small file may have a thousand names for one tensor, each of them to be a sum
    first = _about(values)
    total = {name: tensor.double() for name, tensor in values["state_dict"].items()}
    for path in paths[1:]:
        values = read(path, remedy)
        if what := _difference(first, _about(values)):
            raise UserError(f"{paths[0]} and {path} cannot be averaged: they differ in {what}")
        from_values(values, path)
        for name, tensor in values["state_dict"].items():
            total[name] += tensor.double()
    mean = {name: (total[name] / len(paths)).to(tensor.dtype) for name, tensor in values["state_dict"].items()}
    return {"state_dict": mean, "rope_mt": values["rope_mt"], "global_step": values["global_step"]}


def moving_average(path: Path) -> dict[str, Any]:
    """The exponential moving average of the weights in a full checkpoint, and the rest of what translating needs.

    Raises:
        UserError: the checkpoint is none, is not in full, or is of a run without `trainer.ema`.
    """
    values = read(path)
    if "ema" not in values:
        raise UserError(f"{path} holds no moving average: it is made in training with trainer.ema=0.999")
    return {"state_dict": values["ema"], "rope_mt": values["rope_mt"], "global_step": values["global_step"]}


def _about(values: dict[str, Any]) -> dict[str, Any]:
    """What must be equal where weights are averaged; settings without effect may differ, as where a run went on."""
    settings = identity(from_plain(values["rope_mt"]["config"]))
    shapes = {name: tensor.shape for name, tensor in values["state_dict"].items()}
    return {**settings, "the tokenizer": values["rope_mt"]["tokenizer"], "the shapes of their weights": shapes}


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """The first thing that is not equal."""
    return next((name for name in ours if ours[name] != theirs[name]), None)
