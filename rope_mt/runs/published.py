"""Records of finished runs that are kept apart, as beside the code: what they computed need not be computed again."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from rope_mt.config.commands import TrainConfig
from rope_mt.config.files import read_yaml
from rope_mt.config.plain import from_plain, identity
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder, default_folder, write_config
from rope_mt.runs.result import REMEDY, files_of_tests, read_result, write_result
from rope_mt.system.files import whole_folder


def find_record(cfg: TrainConfig, fingerprints: dict[str, str], processes: int) -> RunFolder | None:
    """The record below `sweep.published` of the run that this configuration describes; None where there is none.

    Settings are compared one by one, and not by the key that a run began with: a setting that came later changes every
    key, and a record has the value that it was made with. Where the precision is left to the machine, the record of
    another machine, which took the other, is what was asked for too.

    Raises:
        UserError: a record in the folder is damaged, or the record was to be overwritten.
    """
    if cfg.sweep.published is None:
        return None
    # one that is being copied has a hidden name
    for result in sorted(Path(cfg.sweep.published).glob("[!.]*/result.json")):
        run = RunFolder(result.parent)
        try:
            of_record = read_result(run)
            computed_with = [of_record[name] for name in ("text", "processes")]
            theirs = _settings(from_plain(read_yaml(run.config)), of_record["precision"])
        except (ValueError, LookupError, UserError) as error:
            raise UserError(f"sweep.published: {run.path} cannot be read: {error}") from error
        wanted = of_record["precision"] if cfg.trainer.precision == "auto" else cfg.trainer.precision
        if computed_with == [fingerprints, processes] and theirs == _settings(cfg, wanted):
            if cfg.overwrite:
                raise UserError(f"{run.path} is published: leave out overwrite=true, or sweep.published")
            return run
    return None


def _settings(cfg: TrainConfig, precision: str) -> dict[str, Any]:
    """All that changes a result, with the precision that it came to."""
    return identity(replace(cfg, trainer=replace(cfg.trainer, precision=precision)))


def record_of(cfg: TrainConfig, key: str) -> RunFolder:
    """Where below `sweep.published` the record of a run will lie, named after what it computes.

    Raises:
        UserError: something else lies there, or nothing can be written there.
    """
    assert cfg.sweep.published is not None
    record = RunFolder(Path(cfg.sweep.published) / default_folder(cfg, key).name)
    if record.result.is_file() and read_result(record).get("key") != key:
        raise UserError(f"sweep.published: {record.path} is of another run: choose another folder")
    if record.path.exists() and not (record.result.is_file() or record.identity.is_file()):
        raise UserError(f"sweep.published: {record.path} is neither a record nor a run: choose another folder")
    if not os.access(record.path.parent, os.W_OK):
        raise UserError(f"sweep.published: {record.path.parent} cannot be written: choose another folder")
    return record


def publish(run: RunFolder, record: RunFolder) -> None:
    """Copy of a finished run what `compare` reads and what it translated; not its weights, and no text of a corpus.

    Raises:
        UserError: the run lacks a file, or the folder cannot be written.
    """
    if record.result.is_file():  # the run itself, which lies among the records, or made by another process meanwhile
        return
    result = read_result(run)
    as_they_are = (run.metrics.name, *files_of_tests(result))
    if lost := [name for name in (run.config.name, *as_they_are) if not (run.path / name).is_file()]:
        raise UserError(f"{run.path} cannot be published, it has no {', '.join(lost)} any more: {REMEDY}")
    with whole_folder(record.path) as made:
        for name in as_they_are:
            shutil.copyfile(run.path / name, made / name)
        config = read_yaml(run.config)
        config["sweep"]["published"] = None  # where it was put is no part of a record, and a path of somebody's machine
        copy = RunFolder(made)
        write_config(copy, config)
        write_result(copy, result)
