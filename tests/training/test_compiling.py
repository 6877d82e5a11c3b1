"""Compiled training makes the updates of eager training, with one graph for each shape of batch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rope_mt.errors import UserError
from rope_mt.training.train import train

from ..small import small_config, write_corpus

SOAK = Path(__file__).parents[1] / "soak/compiled.py"


def test_a_compiled_model_trains_as_the_eager_one_does():
    """In a process of its own: the checks of shapes that tests have cannot be compiled."""
    command = [sys.executable, str(SOAK), "aot_eager", "cpu", "rope"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    [(name, graphs)] = re.findall(r"(\w+): 20 losses, (\d+) graphs so far", done.stdout)
    assert name == "rope"
    assert 1 < int(graphs) < 20  # shapes of batches come again, and are not compiled again


def test_without_a_compiler_the_setting_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    cfg = small_config(write_corpus(tmp_path / "text"), tmp_path / "data", compile=True)
    with pytest.raises(UserError, match=r"needs a compiler of C\+\+: install g\+\+"):
        train(cfg, tmp_path / "run")
    assert not (tmp_path / "run").exists()
