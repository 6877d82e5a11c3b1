"""A checkpoint is a folder: weights as safetensors, everything else as JSON, and the SentencePiece model.

    model.safetensors       the weights of the Transformer
    sentencepiece.model     the tokenizer
    checkpoint.json         step, settings, and the checksums of the other files
    training.safetensors    optimizer state, and the moving average of trainer.ema: only in checkpoints to resume from

No file can run code when it is read. A folder gets its name when all files in it are on the disk.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import load_file, save
from torch import Tensor

from rope_mt.config.commands import TrainConfig
from rope_mt.config.plain import from_plain, identity
from rope_mt.config.training import TrainerConfig
from rope_mt.data.tokenizer import PAD, Tokenizer
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer
from rope_mt.runs.folder import RunFolder, metrics_upto
from rope_mt.system.files import remove_tree, whole_folder
from rope_mt.system.manifest import read_manifest, write_manifest

FORMAT = 3
WEIGHTS, TRAINING = "model.safetensors", "training.safetensors"
TOKENIZER, MANIFEST = "sentencepiece.model", "checkpoint.json"
OTHER = "use another one"  # the remedy for a damaged checkpoint, where the caller has no better one


@dataclass(frozen=True)
class Checkpoint:
    """All that translating needs; tensors are on the CPU."""

    config: TrainConfig
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    step: int
    path: Path


def write(folder: Path, ckpt: Checkpoint, training: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint whole or not at all; one of the same name is replaced.

    Args:
        training: state to resume from, as `read_training` returns it.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    about: dict[str, Any] = {"format": FORMAT, "step": ckpt.step, "config": asdict(ckpt.config)}
    tensors: dict[str, Tensor] = {}
    if training is not None:
        about["training"], tensors = _split(training)
    needs = sum(tensor.nbytes for tensor in (*ckpt.weights.values(), *tensors.values()))
    folder = folder.resolve()  # a symbolic link stays
    with whole_folder(folder, needs) as unfinished:
        (unfinished / WEIGHTS).write_bytes(_serialized(ckpt.weights))
        (unfinished / TOKENIZER).write_bytes(ckpt.tokenizer.model)
        if training is not None:
            (unfinished / TRAINING).write_bytes(_serialized(tensors))
        write_manifest(unfinished / MANIFEST, about, list(unfinished.iterdir()))
        remove(folder)  # the one of the same name, when the new one is complete


def remove(folder: Path) -> None:
    """Remove a checkpoint whole or not at all, if it is there: a kill in between leaves a hidden rest."""
    if folder.exists():
        rest = folder.with_name(f".{folder.name}.removed")
        remove_tree(rest)
        folder.rename(rest)
        remove_tree(rest)


def _serialized(tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file, in which no two tensors share memory: layers that share one each have a copy."""
    distinct: dict[str, Tensor] = {}
    pointers = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        distinct[name] = tensor.clone() if tensor.data_ptr() in pointers else tensor
        pointers.add(tensor.data_ptr())
    return save(distinct, {"format": "pt"})


def _tensors(file: Path) -> dict[str, Tensor]:
    if str(file).isprintable():
        return load_file(file)
    return tensors_of(file.read_bytes())  # takes twice the memory; load_file takes a name in UTF-8 alone


def _split(training: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Training state as plain values for JSON and as named tensors for safetensors."""
    plain = {name: value for name, value in training.items() if name not in ("optimizer_states", "ema")}
    tensors = {f"ema.{name}": tensor for name, tensor in training.get("ema", {}).items()}
    [optimizer] = training["optimizer_states"]
    plain["param_groups"] = optimizer["param_groups"]
    for number, state in optimizer["state"].items():
        for name, tensor in state.items():
            tensors[f"optimizer.{number}.{name}"] = tensor
    return plain, tensors


def read_training(folder: Path, remedy: str) -> dict[str, Any]:
    """Read the state to resume from, in the form in which Lightning saves it.

    Raises:
        UserError: the checkpoint is damaged, or it holds weights alone.
    """
    manifest = _manifest(folder, remedy, TRAINING)
    plain = manifest.get("training")
    if plain is None or not (folder / TRAINING).is_file():
        raise UserError(f"{folder} holds weights alone, and nothing can be resumed from it: {remedy}")
    tensors = _tensors(folder / TRAINING)
    optimizer: dict[str, Any] = {"state": {}, "param_groups": plain.pop("param_groups")}
    ema = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "ema":
            ema[rest] = tensor
        else:
            number, _, part = rest.partition(".")
            optimizer["state"].setdefault(int(number), {})[part] = tensor
    return {**plain, "optimizer_states": [optimizer], **({"ema": ema} if ema else {})}


def training_state(folder: Path, remedy: str) -> dict[str, Any]:
    """The plain values of the state to resume from, such as `tokens_seen`, without its tensors."""
    return _manifest(folder, remedy)["training"]


def ends(folder: Path, cfg: TrainerConfig) -> bool:
    """Whether training ends with this checkpoint: at the last step, or with the end of `trainer.patience`."""
    if step_of(folder) >= cfg.max_steps or cfg.patience is None:
        return step_of(folder) >= cfg.max_steps
    return training_state(folder, OTHER)["callbacks"]["Patience"]["waited"] >= cfg.patience


def _manifest(folder: Path, remedy: str, *names: str) -> dict[str, Any]:
    if not folder.exists():
        raise UserError(f"no such checkpoint: {folder}")
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is not a checkpoint of rope-mt: it has no {MANIFEST}")
    manifest = read_manifest(folder / MANIFEST, remedy, *names)
    if manifest.get("format") != FORMAT:
        raise UserError(f"{folder} has format {manifest.get('format')}; this version of rope-mt reads format {FORMAT}")
    return manifest


def read(folder: Path, remedy: str = OTHER) -> Checkpoint:
    """Read a checkpoint, after comparing its files with their checksums.

    Raises:
        UserError: the folder is missing, damaged, of another version, or not a checkpoint of this project.
    """
    manifest = _manifest(folder, remedy, WEIGHTS, TOKENIZER)
    try:
        weights = _tensors(folder / WEIGHTS)
        config, tokenizer = from_plain(manifest["config"]), Tokenizer((folder / TOKENIZER).read_bytes())
    except (UserError, OSError, SafetensorError) as error:
        raise UserError(f"{folder}: {error}: {remedy}") from error
    return Checkpoint(config, tokenizer, weights, manifest["step"], folder)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint folder, or the averaged weights of a run folder.

    Raises:
        UserError: see `read`; or the folder holds no finished run.
    """
    if (path / MANIFEST).is_file() or not path.is_dir():
        return read(path)
    run = RunFolder(path)
    if run.average.is_dir():
        return read(run.average)
    if not run.result.is_file():
        raise UserError(f"{path} holds no finished run: name a folder in {run.checkpoints}, or train on")
    if not any(run.checkpoints.glob("*/")):
        raise UserError(f"{path} is a record, without weights: train the run to have them")
    raise UserError(f"{run.average} is gone: name another folder beside it")


def run_of(path: Path) -> RunFolder:
    """The run that a path belongs to: a run folder, or a checkpoint, which may be outside of any run."""
    inside = (path / MANIFEST).is_file() and path.absolute().parent.name == "checkpoints"
    if not inside:
        return RunFolder(path)
    run = path.absolute().parent.parent
    return RunFolder(run if path.is_absolute() else Path(os.path.relpath(run)))


def model_of(ckpt: Checkpoint) -> Transformer:
    """Build the model that a checkpoint describes, with its weights.

    Raises:
        UserError: the weights do not fit the settings, or one is not finite.
    """
    for name, tensor in ckpt.weights.items():
        if not tensor.isfinite().all():
            raise UserError(f"{ckpt.path}: {name} is not finite; training has diverged: use another checkpoint")
    model = Transformer(ckpt.config.model, ckpt.config.position, len(ckpt.tokenizer), PAD)
    try:
        model.load_state_dict(ckpt.weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise UserError(f"{ckpt.path}: the weights do not fit its settings and vocabulary: {first}") from error
    return model


def average(folders: list[Path], remedy: str = OTHER) -> Checkpoint:
    """The mean of the weights of these checkpoints, summed in float64; all else is that of the last one.

    Memory holds the sum and one checkpoint.

    Raises:
        UserError: one cannot be read, or they differ in settings, tokenizer or shapes.
    """
    ckpt = first = read(folders[0], remedy)
    total = {name: tensor.double() for name, tensor in first.weights.items()}
    for folder in folders[1:]:
        ckpt = read(folder, remedy)
        if difference := _difference(first, ckpt):
            raise UserError(f"{folders[0]} and {folder} cannot be averaged: they differ in {difference}")
        for name, tensor in ckpt.weights.items():
            total[name] += tensor.double()
    mean = {name: (total[name] / len(folders)).to(tensor.dtype) for name, tensor in ckpt.weights.items()}
    return replace(ckpt, weights=mean)


def _difference(first: Checkpoint, other: Checkpoint) -> str | None:
    """The first thing in which two checkpoints differ, apart from settings without effect on the weights."""
    ours, theirs = identity(first.config), identity(other.config)
    if name := next((name for name in ours if ours[name] != theirs[name]), None):
        return name
    if first.tokenizer.model != other.tokenizer.model:
        return "the tokenizer"
    shapes = [{name: tensor.shape for name, tensor in ckpt.weights.items()} for ckpt in (first, other)]
    return "the shapes of their weights" if shapes[0] != shapes[1] else None


def moving_average(folder: Path) -> Checkpoint:
    """A checkpoint with the exponential moving average of the weights in their place.

    Raises:
        UserError: the checkpoint cannot be read or resumed from, or its run has no `trainer.ema`.
    """
    ckpt, training = read(folder), read_training(folder, OTHER)
    if "ema" not in training:
        raise UserError(f"{folder} holds no moving average: it is made in training with trainer.ema=0.999")
    return replace(ckpt, weights=training["ema"])


# ---- the checkpoints of a run ---------------------------------------------------------------------------------------


def step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def saved(run: RunFolder, kind: str = "step") -> list[Path]:
    """The checkpoints `step-N` of a run, or `best-N`, oldest first."""
    folders = run.checkpoints.glob(f"{kind}-*")
    return sorted(folder for folder in folders if re.fullmatch(rf"{kind}-\d{{7,}}", folder.name) and folder.is_dir())


def latest(run: RunFolder) -> Path | None:
    """The checkpoint of the highest step that can be resumed from."""
    return max((folder for folder in saved(run) if (folder / TRAINING).is_file()), default=None)


def rows_kept(run: RunFolder) -> list[dict[str, Any]]:
    """The rows of metrics that the run, when it goes on from its last checkpoint, does not write again."""
    last = latest(run)
    return metrics_upto(run.metrics, step_of(last) if last else 0)


def select(path: Path, which: Any) -> tuple[Checkpoint, str]:
    """The weights to evaluate, and a name for them.

    Steps, folders and `lastN` are the weights in training, without the moving average of `trainer.ema`.

    Args:
        path: a run folder; for `average` also a checkpoint, which is taken as it is.
        which: see EvalConfig.checkpoints.

    Raises:
        UserError: the run has no such checkpoint or too few of them, or they cannot be averaged.
    """
    if which == "average":
        ckpt = load(path)
        return ckpt, f"{ckpt.path}, step {ckpt.step:,}"
    run = RunFolder(path)
    if not run.checkpoints.is_dir():
        raise UserError(f"checkpoints={which} chooses among those of a run, and {path} is not a run folder")
    if run.average.is_dir() and not (saved(run) or saved(run, "best")):
        raise UserError(f"checkpoints={which}, and {run.checkpoints} has only the averaged weights: take average")
    if which == "ema":
        if (folder := latest(run)) is None:
            raise UserError(f"{run.checkpoints} has no checkpoint that holds the moving average")
        return moving_average(folder), f"moving average in {folder}"
    if which == "best":
        if not (folders := saved(run, "best")[-1:]):
            raise UserError(f"{run.checkpoints} has no best checkpoint: the run has not been validated")
    elif isinstance(which, str) and re.fullmatch("last[0-9]+", which):
        n = int(which.removeprefix("last"))
        folders = saved(run)[-n:]
        if len(folders) < n:
            kept = f"{run.checkpoints} has {len(folders)}: a run keeps as many as trainer.average says"
            raise UserError(f"checkpoints={which}, and {kept}")
    else:
        folders = [_named(run, name) for name in (which if isinstance(which, list) else [which])]
    if len(folders) == 1:
        ckpt = read(folders[0])
        return ckpt, f"{folders[0]}, step {ckpt.step:,}"
    return average(folders), f"mean of {len(folders)}: {', '.join(folder.name for folder in folders)}"


def _named(run: RunFolder, name: int | str) -> Path:
    """The checkpoint of a step, or one by its name in the run's folder or by its path."""
    if isinstance(name, str):
        inside = run.checkpoints / name
        return inside if inside.is_dir() else Path(name)
    folder = run.checkpoints / f"step-{name:07d}"
    if not folder.is_dir():
        steps = ", ".join(str(step_of(folder)) for folder in saved(run)) or "none"
        raise UserError(f"{run.checkpoints} has no checkpoint of step {name}, only of {steps}")
    return folder
