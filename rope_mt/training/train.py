"""`rope-mt train`: the process that the user starts finds, locks and prepares a run, trains, scores and publishes it.

Training itself is in fit.py, in this process or in several of its own; both it and scoring read the run folder alone.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist
from rich.text import Text

from rope_mt.config.commands import TrainConfig
from rope_mt.data import corpus
from rope_mt.data.prepare import prepare
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder, begin, changed_code, left_out_if_refused, open_run
from rope_mt.runs.published import publish, record_of
from rope_mt.runs.result import read_result
from rope_mt.runs.tracking import attach
from rope_mt.system.locks import alone
from rope_mt.system.progress import output
from rope_mt.training.checks import check, read_test_sets, refuse_too_large, steps_of
from rope_mt.training.fit import fit, track_training
from rope_mt.training.other_lengths import begin_with_another
from rope_mt.training.precision import settle
from rope_mt.training.processes import launch, processes_of
from rope_mt.training.score import score, track_result
from rope_mt.training.screens import conclude, how_to_train, introduce, say_reused


def train(
    cfg: TrainConfig,
    folder: Path | None = None,
    command: str = "",
    opened: Callable[[RunFolder, int], None] = lambda run, steps: None,
) -> float:
    """Train one model, or resume it, or find it trained; return its BLEU on the whole validation set.

    Args:
        folder: the run folder; None: named after what the run computes.
        command: the words that the user typed for this run.
        opened: called with the run folder and trainer.max_steps before anything there is touched.

    Raises:
        UserError: the settings, the text or a folder do not allow it, or a training process has failed.
        Interrupted: a signal has come; the same command resumes the run.
    """
    if dist.is_torchelastic_launched():
        raise UserError("rope-mt starts its own training processes: type it without torchrun, with trainer.devices=N")
    processes = processes_of(cfg.trainer)
    text_of = corpus.locate(cfg.data)
    cfg = replace(cfg, data=text_of.cfg)
    if cfg.trainer.epochs:
        steps = steps_of(cfg.trainer.epochs, cfg, prepare(cfg.data, text_of), processes)
        cfg = replace(cfg, trainer=replace(cfg.trainer, max_steps=steps))
    refuse_too_large(cfg)
    run, recorded, key, precision, note = settle(cfg, text_of.fingerprints, processes, folder)
    publish_to = record_of(cfg, key) if cfg.sweep.published and not recorded else None
    opened(run, cfg.trainer.max_steps)

    if recorded:
        say_reused(run, "published")
    elif run.result.is_file() and not cfg.overwrite:  # it may be where nobody can write, so nothing is locked
        open_run(run, cfg, key)
        say_reused(run, "finished")
    else:
        with alone(run.lock, f"training {run.path}"):
            with left_out_if_refused(run):
                open_run(run, cfg, key)
                about = {"command": command, "precision": precision, "processes": processes, **_texts(text_of)}
                about["changed_code"] = [] if cfg.overwrite else changed_code(run)
                test_sets = read_test_sets(cfg, about)
                prepared = prepare(cfg.data, text_of)
                about["prepared"] = str(prepared.folder.absolute())
                checked = check(cfg, run, about, prepared, test_sets)
                begin(run, cfg, key, test_sets["test"], about)
            of_lengths = [] if cfg.overwrite else begin_with_another(cfg, run)
            introduce(cfg, run, about, prepared, checked, text_of.chosen, note, of_lengths)
            if not _train_and_score(cfg, run, about):
                return math.nan

    result = read_result(run)
    conclude(result, run)
    if publish_to:
        publish(run, publish_to)
        output().print(Text(f"published {publish_to.path}"), soft_wrap=True)
    return float(result["valid"]["bleu"])


def _texts(text_of: corpus.Corpus) -> dict[str, Any]:
    """The files of validation and test sets for run.json, and the checksums of all text."""

    def absolute(files: corpus.Files) -> list[list[str]]:
        return [[str(src.absolute()), str(tgt.absolute())] for src, tgt in files]

    further = {name: absolute(files) for name, files in text_of.further_tests.items()}
    valid, test = absolute(text_of.valid), absolute(text_of.test)
    return {"valid": valid, "test": test, "further_tests": further, "text": text_of.fingerprints}


def _train_and_score(cfg: TrainConfig, run: RunFolder, about: dict[str, Any]) -> bool:
    """Train and score a run; False where other machines are to train it first."""
    last = checkpoint.latest(run)
    trained = last is not None and checkpoint.ends(last, cfg.trainer)
    if cfg.trainer.machines > 1 and not trained:
        how_to_train(cfg, run, about)
        return False
    if about["processes"] == 1:
        with track_training(cfg, run) as tracker:
            if not trained:
                fit(run.path, tracker)
            track_result(cfg, run, score(run.path), tracker)
    else:
        if not trained:
            launch(run, about["processes"])
        result = score(run.path)
        of_wandb = cfg.tracking.name == "wandb"
        with attach(run.path, cfg.tracking.mode) if of_wandb else track_training(cfg, run) as tracker:
            track_result(cfg, run, result, tracker)
    if tracker.where():
        output().print(Text(tracker.where(), "dim"), soft_wrap=True)
    return True
