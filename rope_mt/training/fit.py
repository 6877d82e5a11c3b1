"""The part of one training process: it reads the run folder, trains, and writes metrics and checkpoints there.

`python -m rope_mt.training.fit RUN [PID]` is one of several processes that torch's elastic launcher or torchrun has
started. PID is the launcher, whose command has locked the run; without it, the launcher is the parent at the time when
everything is imported, and the first process locks the run.
"""

import logging
import os
import sys
import threading
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.elastic.multiprocessing.errors import record

from rope_mt.config.commands import TrainConfig
from rope_mt.config.plain import from_plain
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import Prepared
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import AGAIN, RunFolder, name_at_wandb
from rope_mt.runs.local_logs import LocalTracker
from rope_mt.runs.tracking import Tracker, track
from rope_mt.system import surroundings
from rope_mt.system.device import choose_device
from rope_mt.system.locks import alone
from rope_mt.system.manifest import read_manifest
from rope_mt.system.memory import short_of_memory
from rope_mt.system.progress import output
from rope_mt.training.callbacks.checkpoints import CheckpointFolders, Checkpoints
from rope_mt.training.callbacks.interruption import Interruption
from rope_mt.training.callbacks.moving_average import MovingAverage
from rope_mt.training.callbacks.patience import Patience
from rope_mt.training.callbacks.report import Report
from rope_mt.training.callbacks.skipping import Skipping
from rope_mt.training.checks import files_of
from rope_mt.training.compiling import graphs
from rope_mt.training.module import TranslationModule
from rope_mt.training.processes import Processes


def fit(path: Path, tracker: Tracker | None = None) -> None:
    """Train the run in this folder from its last checkpoint to its last step.

    Args:
        tracker: the W&B run to log to; None: the first process opens it.

    Raises:
        UserError: a file of the run or of its text was changed, or too many updates were skipped.
        Interrupted: a signal has come.
    """
    run, processes = RunFolder(path), Processes.of_environment()
    about = read_manifest(run.identity, AGAIN)
    cfg, precision = from_plain(about["config"]), about["precision"]
    cfg.trainer.precision = precision  # a checkpoint says what `auto` came to, and is evaluated in it
    if processes.world != about["processes"]:
        wanted = f"{run.path} is for {about['processes']} training processes"
        raise UserError(f"{wanted}, and {processes.world} were started: give trainer.devices and trainer.machines")
    _quieten_lightning()
    L.seed_everything(cfg.seed, verbose=False)
    prepared, valid = Prepared.read(Path(about["prepared"])), files_of(about)["valid"]
    place = (processes.rank, processes.world, cfg.trainer.accumulate)
    data = TranslationData(cfg.data, prepared, valid, cfg.seed, *place)
    with short_of_memory(lambda: "making the model: choose a smaller one"):
        module = TranslationModule(cfg, data, precision, processes)

    opens_tracker = processes.rank == 0 and tracker is None
    with track_training(cfg, run) if opens_tracker else nullcontext(tracker) as tracker:
        checkpoints = Checkpoints(run, module)
        interruption = Interruption(module, checkpoints)
        # A report of a validation comes before the checkpoint that holds the report's sums, and the batches of a step
        # are looked at before it is saved; an interruption leaves when all others have done their part of the step.
        callbacks: list[L.Callback] = [Skipping(run, module), checkpoints, interruption]
        if cfg.trainer.ema:
            callbacks.insert(2, MovingAverage(module, cfg.trainer.ema))
        if cfg.trainer.patience:
            callbacks.insert(0, Patience(module, cfg.trainer.patience))
        if tracker is not None:
            callbacks.insert(0, Report(run, module, tracker))
        trainer = build_trainer(cfg, precision, callbacks, processes)
        with interruption.heeded(), short_of_memory(module.under_way):
            trainer.fit(module, data, ckpt_path=checkpoint.latest(run), weights_only=True)
        if cfg.trainer.compile and processes.rank == 0:
            output().print(f"compiled {graphs()} graphs, one for each shape of batch", style="dim")


def track_training(cfg: TrainConfig, run: RunFolder) -> AbstractContextManager[Tracker]:
    """The run at W&B, or its local files, open as long as the context."""
    if cfg.tracking.name in ("tensorboard", "csv"):
        return LocalTracker(cfg.tracking.name, run.path, asdict(cfg))
    tags = [cfg.position.name, cfg.model.name, cfg.data.name]
    return track(cfg.tracking, run.path, asdict(cfg), name=name_at_wandb(cfg, run.path), tags=tags)


def build_trainer(cfg: TrainConfig, precision: str, callbacks: list[L.Callback], processes: Processes) -> L.Trainer:
    """Lightning's loop as this project uses it: it steps, validates and restores; reports and files are ours."""
    trainer = L.Trainer(
        max_steps=cfg.trainer.max_steps,
        accumulate_grad_batches=cfg.trainer.accumulate,
        val_check_interval=cfg.trainer.val_every * cfg.trainer.accumulate,  # batches
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        accelerator=choose_device(cfg.trainer.device).type,
        devices=processes.on_machine,
        num_nodes=processes.world // processes.on_machine,
        # the buffers of a model are the same in all processes, and stay as they are
        strategy="auto" if processes.world == 1 else DDPStrategy(broadcast_buffers=False),
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        use_distributed_sampler=False,
        callbacks=callbacks,
        # named, since Lightning would take the variables of a SLURM job for its own
        plugins=[CheckpointFolders(), LightningEnvironment() if processes.world == 1 else TorchElasticEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # At each step it would ask the device whether another process was told to end. The launcher tells them all.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    # Its own answer to SIGTERM saves nothing, and communicates with processes that may be anywhere.
    trainer._signal_connector.register_signal_handlers = lambda: None
    return trainer


def _quieten_lightning() -> None:
    """Silence Lightning's advice about workers, its adverts and its device report."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


@record  # which tells the launcher of an exception
def main() -> None:
    surroundings.make_usable()
    by_us = len(sys.argv) > 2
    launcher = int(sys.argv[2]) if by_us else os.getppid()
    threading.Thread(target=end_with_launcher, args=[launcher], daemon=True).start()
    path = Path(sys.argv[1])
    locks = not by_us and Processes.of_environment().rank == 0
    with alone(RunFolder(path).lock, f"training {path}") if locks else nullcontext():
        fit(path)


def end_with_launcher(launcher: int) -> None:
    """End this process when its launcher is killed: the same command would find it at work in the folder of the run."""
    while os.getppid() == launcher:
        time.sleep(0.2)
    os._exit(1)


if __name__ == "__main__":
    main()
