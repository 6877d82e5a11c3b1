"""Where the YAML files of conf/ lie, and how a YAML file is read."""

from pathlib import Path
from typing import Any

from rope_mt.errors import UserError

MOST_BYTES = 1 << 17  # of a YAML file; ours have some 3,000


def conf_dir() -> Path:
    """The folder of YAML files: inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the plain values of a YAML file.

    Raises:
        UserError: the file cannot be read, is too large, or holds no settings.
    """
    import yaml

    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        text = path.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):  # a few can stand for gigabytes
            raise ValueError("it has an alias")
        values = yaml.safe_load(text)
        if not isinstance(values, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error
    return values
