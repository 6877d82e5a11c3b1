"""What a finished run is held to: its result.json, which knows the digests of itself and of the files beside it."""

import re
from typing import Any

from rope_mt.config.data import TEST_NAME
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.system.sealed import FILES, digests, read_sealed, refuse_changed, write_sealed

REMEDY = "get the run's files anew, leave it out, or train it again with overwrite=true"
SEALED = ("config.yaml", "metrics.jsonl", "test.src", "test.ref")


def write_result(run: RunFolder, result: dict[str, Any]) -> None:
    """Write what a run has come to, when all its other files are final."""
    files = dict(result.get(FILES, {}))  # of those that a record lacks
    files |= digests(file for name in (*SEALED, *of_tests(result)) if (file := run.path / name).is_file())
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
    if not _is_sound(result):
        raise UserError(f"{run.result} is not the result of a run: {REMEDY}")
    refuse_changed(run.result, result, REMEDY, *SEALED, *of_tests(result))
    return result


def add_further_test(run: RunFolder, name: str, scores: dict[str, Any] | None) -> None:
    """Write into the result of a run what came of a test set after its end, when its files are there.

    Raises:
        UserError: the result cannot be read or written.
    """
    result = read_result(run)
    result["further_tests"][name] = scores
    write_result(run, result)


def _is_sound(result: dict[str, Any]) -> bool:
    """Whether the values are there that everybody reads."""
    further = result.get("further_tests")
    if type(result.get("steps")) is not int or not isinstance(further, dict):
        return False
    # null stands for a test set whose lines are longer than the model reads
    tests = [result.get("test"), *(scores for scores in further.values() if scores is not None)]
    if not all(isinstance(scores, dict) for scores in (result.get("valid"), *tests)):
        return False
    bleu = [scores.get("bleu") for scores in tests]
    return (
        type(result["valid"].get("loss")) in (int, float)  # not finite in a run that diverged
        and all(type(score) in (int, float) and 0 <= score <= 101 for score in bleu)
        and all(re.fullmatch(TEST_NAME, name) for name in further)
    )


def of_tests(result: dict[str, Any]) -> list[str]:
    """The names of the files with translations of the test sets, and with what their scores are made of."""
    further = (name for name, scores in result["further_tests"].items() if scores)
    return [f"{test}.{kind}" for test in ("test", *further) for kind in ("hyp", "counts")]


def refuse_changed_texts(run: RunFolder) -> None:
    """Compare configuration and test set with what the run began with, or, of a record, ended with.

    Raises:
        UserError: one was changed.
    """
    for record in (run.identity, run.result):
        if record.is_file():
            refuse_changed(record, read_sealed(record, REMEDY), REMEDY, *(file.name for file in run.begun_with))
