"""JSON files that hold the sha256 of their own content and of files beside them, so that damage is noticed.

A checksum is not a signature: whoever changes a file on purpose can compute it anew.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rope_mt.errors import UserError
from rope_mt.system.files import json_text, write_json

CHECKSUM = "checksum"  # key of the sha256 over all other keys
FILES = "files"  # key of the sha256 of files in the same folder, by their names


def write_manifest(path: Path, value: dict[str, Any], files: Iterable[Path] = ()) -> None:
    """Write a JSON object with its checksum.

    Args:
        files: files in the same folder, whose checksums are added to `value["files"]`.
    """
    value = {name: item for name, item in value.items() if name != CHECKSUM}
    if checksums := {**value.get(FILES, {}), **{file.name: sha256(file) for file in files}}:
        value[FILES] = checksums
    value = json.loads(json_text(value))  # as a reader will have it
    write_json(path, {**value, CHECKSUM: _checksum(value)})


def read_manifest(path: Path, remedy: str, *names: str) -> dict[str, Any]:
    """Read what `write_manifest` wrote, and compare files beside it with their checksums.

    Args:
        remedy: what the user should do if something is damaged.
        names: files to compare; those that the manifest does not list, or that are gone, are skipped.

    Raises:
        UserError: the manifest or one of the files cannot be read or was changed.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict) or value.pop(CHECKSUM, None) != _checksum(value):
            raise ValueError
        for file in map(path.with_name, names):
            known = value.get(FILES, {}).get(file.name)
            if known is not None and file.exists() and sha256(file) != known:
                raise UserError(f"{file} was changed since {path.name} was written: {remedy}")
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror}; {remedy}") from error
    except (ValueError, RecursionError) as error:
        reason = "is damaged, was changed, or is of another version of rope-mt"
        raise UserError(f"{path} {reason}: {remedy}") from error
    return value


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
