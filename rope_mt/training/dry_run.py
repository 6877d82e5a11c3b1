"""`rope-mt train --dry-run`: what a command would train, where, how large, and from what state; nothing is written."""

import tempfile
from dataclasses import replace
from pathlib import Path

from rope_mt.config.commands import TrainConfig
from rope_mt.data import corpus, own
from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import latest
from rope_mt.runs.folder import RunFolder
from rope_mt.system.disk import size_text
from rope_mt.training.checks import MANIFEST_BYTES, parameters_of, refuse_too_large, room
from rope_mt.training.precision import settle
from rope_mt.training.processes import processes_of
from rope_mt.training.screens import settings_of, show


def dry_run(cfg: TrainConfig, folder: Path | None = None) -> None:
    """Print the first screen of a run that is not begun.

    Args:
        folder: the run folder; None: named after what the run computes.

    Raises:
        UserError: the settings or a folder do not allow the run.
    """
    processes = processes_of(cfg.trainer)
    if cfg.trainer.epochs:
        raise UserError("--dry-run prepares no text, and trainer.epochs counts its batches: give trainer.max_steps")
    names, text_of, folder_of_text = own.names_of(cfg.data), None, ""
    if any(name.startswith(own.HUB) for name in names):
        raise UserError(f"--dry-run fetches nothing, and the text of {', '.join(names)} decides what would be trained")
    if not any(own.can_be_had(cfg.data, name) for name in corpus.missing(cfg.data, names)):
        with tempfile.TemporaryDirectory() as folder_of_text:  # for the plain text of tables and what is held out
            text_of = corpus.at_hand(replace(cfg.data, dir=folder_of_text))
        cfg = replace(cfg, data=replace(text_of.cfg, dir=cfg.data.dir))
    refuse_too_large(cfg)
    parameters = parameters_of(cfg, cfg.data.vocab_size)
    lines = settings_of(cfg, parameters, processes, f"{cfg.data.name}, vocabulary {cfg.data.vocab_size:,}")
    if text_of is None:
        lines["run"] = f"named after its text, which is not there yet: rope-mt prepare data={cfg.data.name} gets it"
    else:
        run, _, _, precision, note = settle(cfg, text_of.fingerprints, processes, folder, keep=False)
        lines["device"] += f", {precision}"
        if note:
            lines["precision"] = note
        lines |= {name: line.replace(folder_of_text, cfg.data.dir) for name, line in text_of.chosen.items()}
        size = size_text(room(cfg, 4 * parameters + MANIFEST_BYTES)[0])
        lines["run"] = f"{run.path} (about {size})"
        lines["state"] = _state(cfg, run)
    show(lines)


def _state(cfg: TrainConfig, run: RunFolder) -> str:
    if not run.identity.is_file() and not run.result.is_file():
        return "would begin"
    if cfg.overwrite:
        return "would begin anew, and what is there would be removed"
    if run.result.is_file():
        return "is finished: its result would be printed again"
    last = latest(run)
    return f"would continue from {last}" if last else "has begun, without a checkpoint: would begin anew"
