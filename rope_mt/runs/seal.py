"""What a finished run is held to: its result.json, which knows the digests of itself and of the files beside it."""

from typing import Any

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.sealed import FILES, digests, read_sealed, refuse_changed, write_sealed

REMEDY = "get the run's files anew, leave it out, or train it again with overwrite=true"
SEALED = ("config.yaml", "metrics.jsonl", "test.src", "test.ref", "test.hyp")


def write_result(run: RunFolder, result: dict[str, Any]) -> None:
    """Write what a run has come to, when all its other files are final."""
    files = digests(file for name in SEALED if (file := run.path / name).is_file())
    if run.identity.is_file():  # what it began with is what it was then
        files |= read_sealed(run.identity, REMEDY).get(FILES, {})
    write_sealed(run.result, {**result, FILES: files})


def read_result(run: RunFolder) -> dict[str, Any]:
    """What a run has come to, by its result.json, after all that it tells of has been looked at.

    A record of a run may lack files, as texts that may not be handed on; those that are there are compared.

    Raises:
        UserError: something was changed.
    """
    result = read_sealed(run.result, REMEDY)
    steps, valid, test = (result.get(name) for name in ("steps", "valid", "test"))
    if not (type(steps) is int and isinstance(valid, dict) and isinstance(test, dict)) or not all(
        type(score) in (int, float) for score in (valid.get("loss"), test.get("bleu"))
    ):
        raise UserError(f"{run.result} is not the result of a run: {REMEDY}")
    refuse_changed(run.result, result, REMEDY, *SEALED)
    return result


def refuse_changed_texts(run: RunFolder) -> None:
    """Compare configuration and test set with what the run began with, or, of a record, ended with.

    Raises:
        UserError: one was changed.
    """
    for record in (run.identity, run.result):
        if record.is_file():
            refuse_changed(record, read_sealed(record, REMEDY), REMEDY, *(file.name for file in run.begun_with))
