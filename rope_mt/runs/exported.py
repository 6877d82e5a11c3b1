"""A trained model as plain files: weights as safetensors, settings as YAML, and the SentencePiece model."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rope_mt.config.plain import from_plain, read_yaml, to_plain
from rope_mt.data.tokenizer import Tokenizer
from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.fitting import refuse_unfit
from rope_mt.system.files import write_whole

WEIGHTS, CONFIG, TOKENIZER = FILES = ("model.safetensors", "config.yaml", "sentencepiece.model")
FORMAT = "2"


def write(folder: Path, ckpt: Checkpoint) -> None:
    """Write the three files; weights keep their names, dtypes and every bit."""
    config = OmegaConf.to_yaml(OmegaConf.create(to_plain(ckpt.config)))
    # cloned, since layers may share a tensor, and safetensors refuses tensors that share memory
    weights = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in ckpt.weights.items()}
    about = {"rope_mt_format": FORMAT, "step": str(ckpt.step)}
    about |= {"tokenizer_sha256": ckpt.tokenizer.sha256, "config_sha256": hashlib.sha256(config.encode()).hexdigest()}
    about["sha256"] = _digest(about, weights)
    write_whole(folder / WEIGHTS, save(weights, about))
    write_whole(folder / CONFIG, config)
    write_whole(folder / TOKENIZER, ckpt.tokenizer.model)


def _digest(about: Mapping[str, str], weights: Mapping[str, Tensor]) -> str:
    """Over all that is said of the weights but this, and over every bit of them."""
    told = [[name, value] for name, value in sorted(about.items()) if name != "sha256"]
    told += [[name, str(tensor.dtype), [*tensor.shape]] for name, tensor in sorted(weights.items())]
    digest = hashlib.sha256(json.dumps(told).encode())
    for _, tensor in sorted(weights.items()):
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def looks_exported(folder: Path) -> bool:
    """Whether `write` may have made this folder, which then may have lost a file; a run's own folder is another."""
    return any((folder / name).is_file() for name in (WEIGHTS, TOKENIZER))


def read(folder: Path) -> Checkpoint:
    """The model that `write` left in a folder, on the CPU. Nothing in these files can run code.

    Raises:
        UserError: a file is missing, damaged, of another format or of another model.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(f"{folder} has no {name}: make it again with rope-mt export --to safetensors")
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("rope_mt_format") != FORMAT:
                its = about.get("rope_mt_format")
                of = f"has format {its}" if its is not None else "was not written by rope-mt"
                raise UserError(f"{path} {of}; this version of rope-mt reads its own format {FORMAT}")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
        if about["sha256"] != _digest(about, weights):
            raise ValueError(f"{WEIGHTS} is not what was written")
        tokenizer = (folder / TOKENIZER).read_bytes()
        for name, kind in ((TOKENIZER, "tokenizer"), (CONFIG, "config")):
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != about[f"{kind}_sha256"]:
                raise UserError(f"{folder / name} is damaged, or that of another model")
        cfg, step = from_plain(read_yaml(folder / CONFIG)), int(about["step"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"a file in {folder} is damaged: {' '.join(str(error).split())}") from error
    found = Checkpoint(cfg, Tokenizer(tokenizer), weights, step, path)
    refuse_unfit(path, cfg, len(found.tokenizer), weights)
    return found
