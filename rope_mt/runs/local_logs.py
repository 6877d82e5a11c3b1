"""TensorBoard's and CSV files of a run's metrics, in its folder, written by Lightning's loggers in place of W&B."""

import os
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import rows_kept
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.tracking import Tracker
from rope_mt.system.files import remove_tree


def refuse_missing(kind: str) -> None:
    """Raises UserError: the package for this kind of tracking is not installed."""
    if kind == "tensorboard" and find_spec("tensorboard") is None:
        raise UserError("TensorBoard is not installed: pip install 'rope-mt[tensorboard]'")


class LocalTracker(Tracker):
    """Writes each row of metrics.jsonl, and the test scores at the last step, to RUN/tensorboard or RUN/csv.

    A run that goes on writes the rows of its earlier part again, so that each step is there once.
    """

    def __init__(self, kind: str, folder: Path, config: dict[str, Any]) -> None:
        super().__init__(None, folder)
        from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

        remove_tree(folder / kind)
        if kind == "csv":
            self.logger = CSVLogger(folder, name="", version=kind, flush_logs_every_n_steps=1)
        else:
            self.logger = TensorBoardLogger(folder, name="", version=kind, default_hp_metric=False)
        self.logger.log_hyperparams(config)
        self.step = 0
        for row in rows_kept(RunFolder(folder)):
            self.log(row, row.pop("step"))

    def log(self, values: dict[str, Any], step: int) -> None:
        self.step = step
        self.logger.log_metrics({name: value for name, value in values.items() if isinstance(value, int | float)}, step)

    def summarize(self, values: dict[str, Any]) -> None:
        self.log(values, self.step)

    def where(self) -> str:
        if self.logger.version == "csv":
            return f"CSV: {os.path.relpath(self.folder)}/csv/metrics.csv"
        return f"TensorBoard: look with `tensorboard --logdir {shlex.quote(os.path.relpath(self.folder.parent))}`"

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.logger.finalize("success" if kind is None else "failed")
