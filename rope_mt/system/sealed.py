"""JSON files that notice when they were changed, and JSON and YAML of strangers, read without harm.

A digest is no signature: who changes a file on purpose can make it right again. So whoever reads a value checks it too.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rope_mt.errors import UserError
from rope_mt.system.files import write_json

SEAL = "seal"  # the key of the digest over all other keys
FILES = "files"  # the key of the digests of files beside a JSON file, by their names
LARGEST_JSON, LARGEST_YAML = 1 << 26, 1 << 17  # bytes; ours are a thousandth of that
DEEPEST = 20  # collections within one another in a YAML file


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object and the digest over what it holds, as a reader will find it."""
    value = {name: each for name, each in value.items() if name != SEAL}
    write_json(path, {**value, SEAL: _digest(json.loads(json.dumps(value)))})


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """The object that `write_sealed` has written.

    Args:
        remedy: what the user should do where it is damaged.

    Raises:
        UserError: it cannot be read, or is not what was written.
    """
    value = None
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError("too large")
        value = json.loads(path.read_text(encoding="utf-8"))
        sound = isinstance(value, dict) and value.pop(SEAL, None) == _digest(value)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {remedy}") from error
    except (ValueError, RecursionError):
        sound = False
    if not isinstance(value, dict) or not sound:
        raise UserError(f"{path} is damaged, was changed, or is of another version of rope-mt: {remedy}")
    return value


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(files: Iterable[Path]) -> dict[str, str]:
    """The sha256 of each of these files, by its name."""
    return {file.name: sha256(file) for file in files}


def refuse_changed(record: Path, found: dict[str, Any], remedy: str, *names: str) -> None:
    """Compare files beside a record with the digests in it; of these names those that it tells of and that are there.

    Raises:
        UserError: one was changed, or cannot be read.
    """
    known = found.get(FILES)
    for name in names:
        file = record.with_name(name)
        if isinstance(known, dict) and name in known and file.exists():
            try:
                same = file.is_file() and sha256(file) == known[name]
            except OSError as error:
                raise UserError(f"cannot read {file}: {error.strerror}; {remedy}") from error
            if not same:
                raise UserError(f"{file} was changed since {record.name} was written: {remedy}")


def read_yaml(path: Path) -> dict[str, Any]:
    """The plain values of a YAML file that may be anybody's: it can refer to nothing, neither in it nor outside.

    Raises:
        ValueError: it cannot be read, holds no settings, or more than settings; the message is one line.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        if path.stat().st_size > LARGEST_YAML:
            raise ValueError("it is too large")
        text = path.read_text(encoding="utf-8")
        if "${" in text:
            raise ValueError("it refers to something else with ${...}")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it has an alias")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError("it is nested too deeply")
        found = OmegaConf.to_container(OmegaConf.create(text))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(_one_line(error)) from error
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ValueError(_one_line(error)) from error
    if not isinstance(found, dict):
        raise ValueError("it holds no settings")
    return {str(key): value for key, value in found.items()}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
