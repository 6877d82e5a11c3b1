"""Where the YAML files of conf/ lie."""

from pathlib import Path


def conf_dir() -> Path:
    """The folder of YAML files: inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
