"""Whether a run can go on from a full checkpoint, found out before Lightning takes anything of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback
from packaging.version import InvalidVersion, Version
from torch import Tensor

from rope_mt.config.plain import identity
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.fitting import refuse_unfit

if TYPE_CHECKING:
    from rope_mt.training.module import TranslationModule

LIGHTNINGS = ("epoch", "loops", "callbacks", "optimizer_states", "lr_schedulers", "pytorch-lightning_version")
OURS = ("state_dict", "global_step", "rope_mt", "ema")
OLDEST = Version("2.0")  # of Lightning: what is of an older one it changes before anything can be compared
MOST_SECONDS = 1e8
REMEDY = "remove it to go on from the one before, or start again with overwrite=true"


def read_full(path: Path) -> dict[str, Any]:
    """All that a run goes on from.

    Raises:
        UserError: the file is no checkpoint, or holds weights alone.
    """
    values = checkpoint.read(path, REMEDY)
    if missing := [name for name in LIGHTNINGS if name not in values]:
        raise UserError(f"{path} is no full checkpoint, as it has no {missing[0]}: {REMEDY}")
    if more := values.keys() - {*LIGHTNINGS, *OURS}:
        raise UserError(f"{path} has {min(more, key=str)!r:.80}, which is of no checkpoint of rope-mt: {REMEDY}")
    try:
        written = Version(values["pytorch-lightning_version"])
    except (InvalidVersion, TypeError) as error:
        raise UserError(f"{path} does not say which version of Lightning wrote it: {REMEDY}") from error
    if written < OLDEST:
        raise UserError(f"{path} is of a version of Lightning that rope-mt has never used: {REMEDY}")
    return values


def refuse_foreign(path: Path, values: Mapping[str, Any], module: TranslationModule) -> None:
    """Compare a full checkpoint with the run that is to go on from it, part by part.

    Raises:
        UserError: it is another run's, or a part is not what this one would have saved.
    """
    found = checkpoint.from_values(values, path)
    cfg, tokenizer = module.cfg, module.data.tokenizer
    if identity(found.config) != identity(cfg) or found.tokenizer.model != tokenizer.model:
        raise UserError(f"{path} is of a run with other settings or other text: {REMEDY}")
    if cfg.trainer.ema:
        ema = {name.removeprefix(checkpoint.PREFIX): weights for name, weights in values.get("ema", {}).items()}
        refuse_unfit(path, cfg, len(tokenizer), ema)
    where = _unlike_what_is_saved(values, module) or _unlike_optimizer(values, module)
    if where:
        raise UserError(f"{path} cannot be gone on with: {where} is not what a run saves there; {REMEDY}")


def _unlike_what_is_saved(values: Mapping[str, Any], module: TranslationModule) -> str:
    """Which of the states of loops, callbacks and schedule is not one that this run could have; empty: none."""
    trainer = module.trainer
    loops = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
    ours: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]: made by its connector
    callbacks = {callback.state_key: state for callback in ours if (state := callback.state_dict())}
    if report := callbacks.get("Report"):
        report["interval"] |= {"_trained": 0.0, "_tokens": 0.0}  # of several processes they are added up in double
    schedule = module.configure_optimizers()["lr_scheduler"]["scheduler"].state_dict()
    like = {"epoch": 0, "loops": {loop: getattr(trainer, loop).state_dict() for loop in loops}}
    like |= {"lr_schedulers": [schedule]}
    like |= {"rope_mt": {"format": 0, "config": {}, "tokenizer": b"", "tokens_seen": 0}}
    if where := next((where for name in like if (where := _unlike(values[name], like[name], name))), ""):
        return where
    found = values["callbacks"]  # has besides what callbacks of the first process keep
    if not isinstance(found, dict):
        return "callbacks"
    if where := _unlike({name: found[name] for name in callbacks if name in found}, callbacks, "callbacks"):
        return where
    if report:
        theirs = found["Report"]
        seconds = (theirs["training_seconds"], theirs["validation_seconds"], theirs["interval"]["_elapsed"])
        if not all(0 <= each < MOST_SECONDS for each in seconds):
            return "callbacks.Report"
    drawn = values["loops"]["fit_loop"].get("state_dict")
    return _unlike(drawn, {"combined_loader": [{"epoch": 0, "drawn": 0}]}, "loops.fit_loop.state_dict")


def _unlike_optimizer(values: Mapping[str, Any], module: TranslationModule) -> str:
    """Which part of the optimizer's state does not belong to this run's weights; empty: all do."""
    like = module.configure_optimizers()["optimizer"]
    where = "optimizer_states"
    if _unlike(values[where], [{"state": {}, "param_groups": like.state_dict()["param_groups"]}], where):
        return where
    [found] = values[where]
    saved = like.state_dict()["param_groups"]
    for group, ours, theirs in zip(like.param_groups, saved, found["param_groups"], strict=True):
        if {**theirs, "lr": 0.0} != {**ours, "lr": 0.0}:  # all others are settings, and the same in every step
            return f"{where}.param_groups"
        names = {"step", "exp_avg", "exp_avg_sq"} if "betas" in group else {"momentum_buffer"}
        for number, weight in zip(ours["params"], group["params"], strict=True):
            state = found["state"].get(number)
            if state is None and "betas" not in group:  # before the first step that was not left out
                continue
            if not isinstance(state, dict) or state.keys() != names:
                return f"{where}.state.{number}"
            shapes = {name: () if name == "step" else weight.shape for name in names}
            if any(not isinstance(state[n], Tensor) or state[n].shape != shapes[n] for n in names):
                return f"{where}.state.{number}"
    return "" if found["state"].keys() <= {n for group in found["param_groups"] for n in group["params"]} else where


def _unlike(found: Any, like: Any, where: str) -> str:
    """The first place where plain values are not of the kinds that others are; of a dict that is empty nothing.

    An integer is a count, and not below 0; of other numbers none is out of all bounds.
    """
    if isinstance(like, dict):
        if not isinstance(found, dict) or (like and found.keys() - like.keys()):
            return where
        inside = ((f"{where}.{name}", found.get(name, _unlike), each) for name, each in like.items())
    elif isinstance(like, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(like):
            return where
        inside = ((f"{where}.{n}", *pair) for n, pair in enumerate(zip(found, like, strict=True)))
    else:
        same = type(found) is type(like) or (type(found), type(like)) == (int, float)
        if type(like) is int:
            same = same and 0 <= found < 1 << 62
        elif type(like) is float:
            same = same and abs(found) < (1 << 62 if type(found) is int else 1e100)
        return "" if same else where
    return next((wrong for at, one, other in inside if (wrong := _unlike(one, other, at))), "")
