"""What was measured on."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from rope_mt.data.prepare import cores


def machine() -> dict[str, Any]:
    """The processor, how many cores of it may be used, and the versions of what computes."""
    from rope_mt.system.device import processor  # torch, which would count as memory of preparing data

    packages = ("sentencepiece", "numpy", "torch")
    return {
        "processor": processor(),
        "cores": cores(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def proc(name: str) -> str:
    """A file of /proc, empty where the system has none."""
    path = Path("/proc") / name
    return path.read_text() if path.is_file() else ""
