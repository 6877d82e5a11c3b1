"""What a run says while it trains: to the person at the terminal, to metrics.jsonl, and to W&B."""

import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from torch import Tensor
from torch.optim import Optimizer

from rope_mt.data.batches import Batch
from rope_mt.data.text import printable
from rope_mt.data.tokenizer import PAD
from rope_mt.errors import UserError
from rope_mt.runs.folder import AGAIN
from rope_mt.runs.tracking import Tracker
from rope_mt.system.device import forget_peak_memory, peak_memory
from rope_mt.system.files import append, write_whole
from rope_mt.system.progress import clock, may_draw
from rope_mt.training.module import TranslationModule

SAMPLES = 2  # source, reference and hypothesis triples shown after a validation
TABLE_ROWS = 50  # and of those in the table that W&B keeps


def metrics_upto(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of a metrics file that a run which goes on from `step` does not make again.

    Raises:
        UserError: a line is damaged, and not the last one, which a run may be killed in.
    """
    if not path.is_file():
        return []
    rows = []
    lines = path.read_bytes().split(b"\n")
    for n, line in enumerate(lines[:-1], start=1):  # what is behind the last line's end is cut off
        try:
            row = json.loads(line)
            if row["step"] <= step:
                rows.append(row)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise UserError(f"{path}, line {n}, is damaged: {AGAIN}") from error
    return rows


# sums over the steps since the last report, which a run that goes on between two reports needs
INTERVAL = (
    "_nats",
    "_trained",
    "_tokens",
    "_norms",
    "_largest_norm",
    "_skipped",
    "_filled",
    "_steps",
    "_slots",
    "_elapsed",
)


class Report(Callback):
    """Loss, rate and speed every `log_every` steps; every validation with a few translations.

    What is reported of training is of the steps since the last report:

    - `train/loss`: nats a token, label smoothing included, so that its exponential is no perplexity;
    - `train/lr`: the learning rate of the last update;
    - `train/gradient_norm` and `train/gradient_norm_max`: mean and maximum of the norm before it is clipped;
    - `train/tokens_per_second`: real target tokens, of all processes together;
    - `train/skipped`: updates left out as their loss or gradient was not finite, which count in none of the above but
      the last, here of the whole run so far;
    - `train/padding`: the share of slots that hold no token, src and tgt, in the batches of this process;

    and from the start `train/peak_memory_mb`, in 10^6 bytes: tensors on a GPU, all of this process on a CPU.
    """

    def __init__(self, metrics: Path, tracker: Tracker, console: Console, log_every: int, max_steps: int) -> None:
        self.metrics, self.tracker, self.console = metrics, tracker, console
        self.log_every, self.max_steps = log_every, max_steps
        # over all sessions of the run, without what an interruption undid
        self.training_seconds = 0.0  # in steps and their data, and in writing checkpoints
        self.validation_seconds = 0.0  # in loss, translations, their scores and the report of them
        self.skipped = 0  # updates of the whole run
        self.bar: Progress | None = None
        self._lr = 0.0
        self._restart_interval()

    def state_dict(self) -> dict[str, Any]:
        self._pause()
        sums = {name: getattr(self, name) for name in INTERVAL}
        sums = {name: value.item() if isinstance(value, Tensor) else value for name, value in sums.items()}
        seconds = {"training_seconds": self.training_seconds, "validation_seconds": self.validation_seconds}
        return {**seconds, "skipped": self.skipped, "interval": sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.training_seconds = state_dict["training_seconds"]
        self.validation_seconds = state_dict["validation_seconds"]
        self.skipped = state_dict["skipped"]
        for name in INTERVAL:
            setattr(self, name, state_dict["interval"][name])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        rows = metrics_upto(self.metrics, trainer.global_step)
        write_whole(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))
        if may_draw(self.console):
            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            bar = Progress(*columns, TimeElapsedColumn(), console=self.console)
            bar.add_task("", total=self.max_steps, completed=trainer.global_step)
            bar.start()
            self.bar = bar
        forget_peak_memory(pl_module.device)
        self._since = time.perf_counter()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        self._lr = optimizer.param_groups[0]["lr"]  # when the batch ends, it is that of the next update

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TranslationModule)
        self._slots += batch.src.numel() + batch.tgt_in.numel()
        self._filled = self._filled + (batch.src != PAD).sum() + batch.n_tokens
        if not pl_module.ends_update(batch_idx):
            return
        step = trainer.global_step
        left_out = pl_module.step_skipped.bool()
        norm = torch.where(left_out, 0.0, pl_module.step_norm)
        self._nats = self._nats + torch.where(left_out, 0.0, pl_module.step_nats)
        self._trained = self._trained + torch.where(left_out, 0, pl_module.step_tokens)
        self._tokens = self._tokens + pl_module.step_tokens
        self._steps += 1
        self._skipped = self._skipped + left_out.long()
        self._norms = self._norms + norm
        self._largest_norm = norm.clamp(min=self._largest_norm)
        if step % self.log_every and step != self.max_steps:
            if self.bar:
                self.bar.update(self.bar.task_ids[0], completed=step)
            return
        nats, trained = float(self._nats), int(self._trained)  # waits for the device, so the clock is read after it
        self._pause()
        loss, speed = nats / trained if trained else None, int(self._tokens) / self._elapsed
        left_out = int(self._skipped)
        self.skipped += left_out
        steps_left = self.max_steps - step
        left = clock(steps_left * self.training_seconds / max(step, 1))
        values = {
            **({} if loss is None else {"train/loss": loss}),
            "train/lr": self._lr,
            "train/gradient_norm": float(self._norms) / max(1, self._steps - left_out),
            "train/gradient_norm_max": float(self._largest_norm),
            "train/tokens_per_second": speed,
            "train/skipped": self.skipped,
            "train/padding": 1 - int(self._filled) / self._slots,
        }
        memory = peak_memory(pl_module.device)
        if memory is not None:
            values["train/peak_memory_mb"] = memory / 1e6
        self._write(pl_module, step, values)
        said = f"loss {'-' if loss is None else f'{loss:.3f}'}   {speed:,.0f} tokens/s   {left} left"
        if self.skipped:
            said += f"   {self.skipped:,} updates left out"
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=step, description=said)
        else:
            self._say(f"step {step:,} of {self.max_steps:,}   {said}")
        self._restart_interval()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        float(self._nats)  # waits for the device, so that steps under way are not counted as validation
        self._pause()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TranslationModule)
        found, step = pl_module.validation, trainer.global_step
        self._write(pl_module, step, {f"valid/{name}": value for name, value in found.items()})
        self.tracker.log_translations("valid/translations", pl_module.samples[:TABLE_ROWS], step)
        self._say(
            f"valid at {step:,}   loss {found['loss']:.3f}   perplexity {found['perplexity']:.2f}   "
            f"BLEU {found['bleu']:.2f} (greedy, {len(pl_module.samples)} sentences)",
            style="bold",
        )
        for triple in pl_module.samples[:SAMPLES]:
            for name, sentence in zip(("source", "reference", "hypothesis"), triple, strict=True):
                self._say(f"  {name:<11}{printable(sentence)}")
        now = time.perf_counter()  # before the checkpoint is written, which so knows of this validation
        self.validation_seconds += now - self._since
        self._since = now

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar:
            self.bar.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if self.bar:
            self.bar.stop()

    def _write(self, module: TranslationModule, step: int, values: dict[str, float]) -> None:
        row = {"tokens": module.tokens_seen, "epoch": module.data.plan.epoch, **values}
        append(self.metrics, json.dumps({"step": step, **row}).encode() + b"\n")
        self.tracker.log(row, step)

    def _say(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style), soft_wrap=True)

    def _restart_interval(self) -> None:
        self._nats: Any = 0.0  # as the module has it: on the device
        self._trained: Any = 0  # tokens of the updates that were made
        self._tokens: Any = 0  # of all
        self._skipped: Any = 0
        self._norms: Any = 0.0
        self._largest_norm: Any = 0.0
        self._filled: Any = 0
        self._steps = self._slots = 0
        self._elapsed = 0.0
        self._since = time.perf_counter()

    def _pause(self) -> None:
        """Count the time since the last step, validation or pause as training."""
        now = time.perf_counter()
        self._elapsed += now - self._since
        self.training_seconds += now - self._since
        self._since = now
