"""Runs that differ in their length alone: one begins with the steps of another where both make the same updates."""

from contextlib import suppress
from dataclasses import replace

from rope_mt.config.commands import TrainConfig
from rope_mt.config.training import TrainerConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint, code
from rope_mt.runs.checkpoint import latest, saved, step_of
from rope_mt.runs.folder import AGAIN, RunFolder, changed_code, run_hash
from rope_mt.system.files import whole_folder, write_whole
from rope_mt.system.locks import held
from rope_mt.system.manifest import read_manifest
from rope_mt.training.optimizers import fraction_of_peak


def begin_with_another(cfg: TrainConfig, run: RunFolder) -> list[str]:
    """Give a run that has no checkpoint those of the run beside it whose steps, the most of all, are its own.

    Its weights and scores become those of a run without it, to the last bit. Return lines for the user: which run that
    is, or of each other one that differs in its length alone why its steps are not taken.
    """
    if latest(run) is not None or any(run.checkpoints.iterdir()):
        return []
    found: list[tuple[int, RunFolder]] = []
    lines = []
    for file in sorted(run.path.parent.glob("*/run.json")):
        other = RunFolder(file.parent)
        with suppress(UserError, LookupError, TypeError):  # a damaged run says so itself, and a folder may be foreign
            trainer = _of_another_length(cfg, run, other)
            if trainer is None:
                continue
            if reason := _obstacle(cfg, trainer, other):
                same = f"{other.path} is the same with trainer.max_steps={trainer.max_steps}"
                lines.append(f"{same}, but this run begins at its first step: {reason}")
            else:
                found.append((step_of(max(saved(other))), other))
    if not found:
        return lines
    step, other = max(found, key=lambda each: each[0])
    _copy(cfg, other, run)
    return [f"its first {step:,} steps are those of {other.path}; overwrite=true would start at the first one"]


def _of_another_length(cfg: TrainConfig, run: RunFolder, other: RunFolder) -> TrainerConfig | None:
    """Our trainer's settings with the length of the other run, if all that a run computes is the same but for that."""
    ours, theirs = (read_manifest(each.identity, AGAIN) for each in (run, other))
    length = {name: theirs["config"]["trainer"][name] for name in ("max_steps", "epochs")}
    trainer = replace(cfg.trainer, **length)
    key = run_hash(replace(cfg, trainer=trainer), ours["precision"], ours["text"], ours["processes"])
    return trainer if key == theirs["key"] != ours["key"] else None


def _obstacle(cfg: TrainConfig, trainer: TrainerConfig, other: RunFolder) -> str | None:
    """Why a run cannot begin with the last checkpoint of another one, if so."""
    last, every = latest(other), cfg.trainer.val_every
    if held(other.lock):
        return "the other one is being trained"
    if last is None:
        return "the other one has no checkpoint to resume from"
    step = step_of(last)
    if changed := changed_code(other):
        return f"the other one was made with other code, {code.listed(changed)}"
    if step >= cfg.trainer.max_steps:
        return f"the last checkpoint of the other one is of step {step:,}"
    if step == trainer.max_steps and step % every:
        return f"the other one ends at {step:,}, which is no multiple of trainer.val_every={every}"
    ours, theirs = (fraction_of_peak(cfg.optimizer, steps) for steps in (cfg.trainer.max_steps, trainer.max_steps))
    if any(ours(n) != theirs(n) for n in range(step + 1)):
        depends = f"optimizer.schedule={cfg.optimizer.schedule} depends on trainer.max_steps"
        return f"{depends}; runs with optimizer.schedule=inverse-sqrt go on at any length"
    return None


def _copy(cfg: TrainConfig, other: RunFolder, run: RunFolder) -> None:
    """Copy metrics, and all checkpoints at once, with the length of the run that begins."""
    write_whole(run.metrics, other.metrics.read_bytes())
    resumable, length = latest(other), {"max_steps": cfg.trainer.max_steps, "epochs": cfg.trainer.epochs}
    with whole_folder(run.checkpoints) as unfinished:
        for folder in (*saved(other), *saved(other, "best")):
            training = checkpoint.read_training(folder, AGAIN) if folder == resumable else None
            ckpt = checkpoint.read(folder)
            config = replace(ckpt.config, trainer=replace(ckpt.config.trainer, **length))
            checkpoint.write(unfinished / folder.name, replace(ckpt, config=config), training)
