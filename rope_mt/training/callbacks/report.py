"""What a run reports while it trains: to the terminal, to metrics.jsonl, and to W&B."""

import math
import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from torch import Tensor
from torch.optim import Optimizer

from rope_mt.data.batches import Batch
from rope_mt.data.text import printable
from rope_mt.data.tokenizer import PAD
from rope_mt.runs.folder import RunFolder, metrics_upto
from rope_mt.runs.tracking import Tracker
from rope_mt.system.device import forget_peak_memory, peak_memory
from rope_mt.system.files import append, json_text, write_whole
from rope_mt.system.progress import clock, may_draw, output
from rope_mt.training.module import TranslationModule

SAMPLES = 2  # translations shown after a validation
TABLE_ROWS = 50  # translations in the table that W&B keeps


class Report(Callback):
    """Loss, rate and speed every `log_every` steps; every validation with a few translations.

    The values of training are of the steps since the last report:

    - `train/loss`: nats a token, label smoothing included, so that its exponential is not a perplexity;
    - `train/lr`: the learning rate of the last update;
    - `train/gradient_norm` and `train/gradient_norm_max`: mean and maximum of the norm before it is clipped;
    - `train/tokens_per_second`: real target tokens, of all processes together;
    - `train/skipped`: updates of the whole run that were skipped as their loss or gradient was not finite; loss and
      norms do not count them;
    - `train/padding`: the fraction of slots without a token, src and tgt, in the batches of this process;
    - `train/peak_memory_mb`, from the start, in 10^6 bytes: tensors on a GPU, all of this process on a CPU.
    """

    def __init__(self, run: RunFolder, module: TranslationModule, tracker: Tracker) -> None:
        self.metrics, self.module, self.tracker = run.metrics, module, tracker
        self.cfg, self.console = module.cfg.trainer, output()
        # seconds of all sessions of the run, without what an interruption undid
        self.training_seconds = 0.0  # in steps and their data, and in writing checkpoints
        self.validation_seconds = 0.0  # in loss, translations, their scores and the report of them
        self.skipped = 0  # updates of the whole run
        self._lr = 0.0
        self._line = ""  # of the last report of training
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        drawn = may_draw(self.console)
        self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, disable=not drawn)
        self.task = self.bar.add_task("", total=self.cfg.max_steps)
        self._start_interval()

    def _start_interval(self) -> None:
        """Set the sums since the last report to 0. Those of tensors stay on the device until they are reported."""
        self.sums: dict[str, Any] = dict.fromkeys(("nats", "norms", "largest_norm", "seconds"), 0.0)
        self.sums |= dict.fromkeys(("trained", "tokens", "skipped", "filled", "slots", "steps"), 0)
        self._since = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        self._count_training_seconds()
        interval = {name: value.item() if isinstance(value, Tensor) else value for name, value in self.sums.items()}
        seconds = {"training_seconds": self.training_seconds, "validation_seconds": self.validation_seconds}
        return {**seconds, "skipped": self.skipped, "interval": interval}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.training_seconds = state_dict["training_seconds"]
        self.validation_seconds = state_dict["validation_seconds"]
        sums = state_dict["interval"].items()
        # null stands for a sum that is not finite
        self.skipped, self.sums = state_dict["skipped"], {name: math.inf if v is None else v for name, v in sums}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        rows = metrics_upto(self.metrics, trainer.global_step)
        write_whole(self.metrics, "".join(json_text(row) + "\n" for row in rows))
        self.bar.update(self.task, completed=trainer.global_step)
        self.bar.start()
        forget_peak_memory(self.module.device)
        self._since = time.perf_counter()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        self._lr = optimizer.param_groups[0]["lr"]  # after the batch, it is that of the next update

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        sums, step = self.sums, trainer.global_step
        sums["slots"] += batch.src.numel() + batch.tgt_in.numel()
        sums["filled"] += (batch.src != PAD).sum() + batch.n_tokens
        if not self.module.ends_update(batch_idx):
            return
        skipped = self.module.step_skipped.bool()
        norm = torch.where(skipped, 0.0, self.module.step_norm)
        sums["nats"] += torch.where(skipped, 0.0, self.module.step_nats)
        sums["trained"] += torch.where(skipped, 0, self.module.step_tokens)
        sums["tokens"] += self.module.step_tokens
        sums["steps"] += 1
        sums["skipped"] += skipped.long()
        sums["norms"] += norm
        sums["largest_norm"] = norm.clamp(min=sums["largest_norm"])
        if step % self.cfg.log_every == 0 or step == self.cfg.max_steps:
            self._report_training(step)
            self._start_interval()
        else:
            self.bar.update(self.task, completed=step)

    def _report_training(self, step: int) -> None:
        nats, trained = float(self.sums["nats"]), int(self.sums["trained"])  # waits for the device
        self._count_training_seconds()
        sums = self.sums
        skipped = int(sums["skipped"])
        self.skipped += skipped
        speed = int(sums["tokens"]) / sums["seconds"]
        values = {"train/loss": nats / trained} if trained else {}
        values |= {
            "train/lr": self._lr,
            "train/gradient_norm": float(sums["norms"]) / max(1, sums["steps"] - skipped),
            "train/gradient_norm_max": float(sums["largest_norm"]),
            "train/tokens_per_second": speed,
            "train/skipped": self.skipped,
            "train/padding": 1 - int(sums["filled"]) / sums["slots"],
        }
        if (memory := peak_memory(self.module.device)) is not None:
            values["train/peak_memory_mb"] = memory / 1e6
        self._write(step, values)
        loss = _number(values["train/loss"], 3) if trained else "-"
        left = clock((self.cfg.max_steps - step) * self.training_seconds / max(step, 1))
        line = f"loss {loss}   {speed:,.0f} tokens/s   {left} left"
        if self.skipped:
            line += f"   {self.skipped:,} updates skipped"
        self._line = line
        self.bar.update(self.task, completed=step, description=line)
        if self.bar.disable:
            self._print(f"step {step:,} of {self.cfg.max_steps:,}   {line}")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        float(self.sums["nats"])  # waits for the device, so that steps under way do not count as validation
        self._count_training_seconds()
        self.bar.update(self.task, description="validating")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        scores, step = self.module.validation, trainer.global_step
        self._write(step, {f"valid/{name}": value for name, value in scores.items()})
        self.tracker.log_translations("valid/translations", self.module.samples[:TABLE_ROWS], step)
        self.bar.update(self.task, description=self._line)
        weights = "moving average" if self.cfg.ema else "last weights"
        self._print(
            f"valid at {step:,}   loss {_number(scores['loss'], 3)}   "
            f"perplexity {_number(scores['perplexity'], 2)}   "
            f"BLEU {scores['bleu']:.2f} ({weights}; greedy, {len(self.module.samples)} sentences)",
            style="bold",
        )
        for triple in self.module.samples[:SAMPLES]:
            for name, sentence in zip(("source", "reference", "hypothesis"), triple, strict=True):
                self._print(f"  {name:<11}{printable(sentence)}")
        now = time.perf_counter()  # before the checkpoint is written, which so holds the time of this validation
        self.validation_seconds += now - self._since
        self._since = now

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.bar.stop()

    def _write(self, step: int, values: dict[str, float]) -> None:
        row = {"tokens": self.module.tokens_seen, "epoch": self.module.data.plan.epoch, **values}
        append(self.metrics, json_text({"step": step, **row}).encode() + b"\n")
        self.tracker.log(row, step)

    def _print(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style), soft_wrap=True)

    def _count_training_seconds(self) -> None:
        """Count the time since the last step, validation or call of this as training."""
        now = time.perf_counter()
        self.sums["seconds"] += now - self._since
        self.training_seconds += now - self._since
        self._since = now


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "not finite"
