"""The result of a run: result.json, which holds the checksums of itself and of the files beside it."""

from typing import Any

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.system.manifest import FILES, read_manifest, write_manifest

REMEDY = "get the run's files anew, leave it out, or train it again with overwrite=true"
TEXTS = ("config.yaml", "metrics.jsonl", "test.src", "test.ref")


def write_result(run: RunFolder, result: dict[str, Any]) -> None:
    """Write what a run has come to, when all its other files are final."""
    began_with = read_manifest(run.identity, REMEDY).get(FILES, {}) if run.identity.is_file() else {}
    files = [run.path / name for name in (*TEXTS, *files_of_tests(result)) if name not in began_with]
    result = {**result, FILES: {**result.get(FILES, {}), **began_with}}
    write_manifest(run.result, result, filter(lambda file: file.is_file(), files))


def read_result(run: RunFolder) -> dict[str, Any]:
    """Read the result of a run, and compare the files beside it with their checksums.

    A published record lacks some files, such as texts that may not be handed on; those that are there are compared.

    Raises:
        UserError: a file was changed.
    """
    result = read_manifest(run.result, REMEDY)
    if not all(isinstance(result.get(name), dict) for name in ("valid", "test", "further_tests")):
        raise UserError(f"{run.result} is not the result of a run: {REMEDY}")
    return read_manifest(run.result, REMEDY, *TEXTS, *files_of_tests(result))


def files_of_tests(result: dict[str, Any]) -> list[str]:
    """Names of the files with the translations of each test set, and with the sufficient statistics of their scores."""
    further = [name for name, scores in result["further_tests"].items() if scores]
    return [f"{test}.{kind}" for test in ("test", *further) for kind in ("hyp", "counts")]


def refuse_changed_texts(run: RunFolder) -> None:
    """Compare configuration and test set with their checksums from the beginning of the run, or from a record.

    Raises:
        UserError: one was changed.
    """
    for manifest in (run.identity, run.result):
        if manifest.is_file():
            read_manifest(manifest, REMEDY, *(file.name for file in run.began_with))
