"""Python started anew, to see what a command imports, and what becomes of it from outside."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def shell(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], text=True, capture_output=True, env=env, timeout=60, **more)
