"""A trained model as plain files: weights as safetensors, settings as YAML, and the SentencePiece model."""

import hashlib
from pathlib import Path

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from yaml import YAMLError

from rope_mt.config.plain import from_plain, to_plain
from rope_mt.data.tokenizer import Tokenizer
from rope_mt.durable import write_whole
from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import Checkpoint

WEIGHTS, CONFIG, TOKENIZER = FILES = ("model.safetensors", "config.yaml", "sentencepiece.model")
FORMAT = "1"


def write(folder: Path, ckpt: Checkpoint) -> None:
    """Write the three files; weights keep their names, dtypes and every bit."""
    about = {"rope_mt_format": FORMAT, "step": str(ckpt.step), "tokenizer_sha256": ckpt.tokenizer.sha256}
    # cloned, since layers may share a tensor, and safetensors refuses tensors that share memory
    weights = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in ckpt.weights.items()}
    write_whole(folder / WEIGHTS, save(weights, about))
    write_whole(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(to_plain(ckpt.config))))
    write_whole(folder / TOKENIZER, ckpt.tokenizer.model)


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
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
        if about.get("rope_mt_format") != FORMAT:
            of = f"has format {about['rope_mt_format']}" if "rope_mt_format" in about else "was not written by rope-mt"
            raise UserError(f"{path} {of}; this version of rope-mt reads its own format {FORMAT}")
        tokenizer = (folder / TOKENIZER).read_bytes()
        if hashlib.sha256(tokenizer).hexdigest() != about["tokenizer_sha256"]:
            raise UserError(f"{folder / TOKENIZER} is damaged, or that of another model")
        plain = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
        if not isinstance(plain, dict):
            raise UserError(f"{folder / CONFIG} holds no settings")
        cfg = from_plain({str(key): value for key, value in plain.items()})
        return Checkpoint(cfg, Tokenizer(tokenizer), weights, int(about["step"]), path)
    except (OSError, ValueError, KeyError, YAMLError, OmegaConfBaseException, SafetensorError) as error:
        raise UserError(f"a file in {folder} is damaged: {str(error).splitlines()[0]}") from error
