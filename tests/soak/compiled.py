"""Compiled training makes the updates of eager training: python tests/soak/compiled.py [BACKEND [DEVICE [SCHEME ...]]]

Each scheme trains twenty steps in fp32, eager and compiled. Three minutes a scheme on a CPU with the backend inductor,
which makes kernels; aot_eager makes none, and takes seconds.
"""

import contextlib
import io
import re
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.runs.folder import RunFolder
from rope_mt.training.train import train
from tests.small import rows, small_config, write_corpus


def losses(position: str, device: str, folder: Path, compiled: bool) -> tuple[list[float], str]:
    """The losses of twenty steps, and what was printed."""
    files, steps = write_corpus(folder / "text"), {"max_steps": 20, "val_every": 20}
    cfg = small_config(files, folder / "data", POSITION_CONFIGS[position](), compile=compiled, **steps)
    cfg = replace(cfg, model=replace(cfg.model, dropout=0.0), data=replace(cfg.data, batch_tokens=2_000))
    cfg.trainer.device = device
    run, printed = RunFolder(folder / f"compiled-{compiled}"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        train(cfg, run.path)
    return [row["train/loss"] for row in rows(run) if "train/loss" in row], printed.getvalue()


def main(backend: str, device: str, positions: list[str]) -> None:
    torch.compile = partial(torch.compile, backend=backend)
    for position in positions:
        with tempfile.TemporaryDirectory() as folder:
            eager, _ = losses(position, device, Path(folder), compiled=False)
            compiled, printed = losses(position, device, Path(folder), compiled=True)
        farthest = max(abs(a - b) for a, b in zip(eager, compiled, strict=True))
        [graphs] = re.findall(r"compiled (\d+) graphs", printed)
        print(f"{position}: {len(eager)} losses, {graphs} graphs so far, {farthest:.1e} from eager at most", flush=True)
        assert farthest < 1e-4
        assert eager[-1] < eager[0]


if __name__ == "__main__":
    backend, device = [*sys.argv[1:3], *("inductor", "cpu")[len(sys.argv) - 1 :]]
    main(backend, device, sys.argv[3:] or [*POSITION_CONFIGS])
