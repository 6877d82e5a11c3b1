"""rope-mt: what does a way of encoding position do to translation?

The commands are in rope_mt.cli. From Python, `load` reads a trained model and `train` trains one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rope_mt.translation.translator import Translator

__version__ = "0.1.0"


def load(run: str | Path, device: str = "auto", precision: str | None = None) -> Translator:
    """Read a trained model, whose `translate`, `score` and `encode` take raw text.

    Args:
        run: a run folder, whose averaged weights are read, or a checkpoint.
        device: auto, cpu, cuda or mps.
        precision: bf16 or fp32; None: as in training.

    Raises:
        UserError: there is no such run, it is damaged, or this machine has no such device.
    """
    from rope_mt.config.commands import EvalConfig
    from rope_mt.runs import checkpoint
    from rope_mt.translation.translator import Translator

    cfg = EvalConfig(str(run), device=device, precision=precision)
    return Translator.of_command(checkpoint.load(Path(run)), cfg)


def train(overrides: Sequence[str] = ()) -> Path:
    """Train one model as `rope-mt train OVERRIDES` does, or find it trained; return its run folder.

    Args:
        overrides: settings as on the command line, such as `position=rope`.

    Raises:
        UserError: the settings, the text or a folder do not allow it.
        Interrupted: a signal has come; the same call resumes the run.
    """
    from rope_mt.cli.hydra import run_one

    return run_one([*overrides])
