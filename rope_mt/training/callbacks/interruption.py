"""Signals that end training: the step under way is finished and saved first, so that nothing is lost."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from rope_mt.errors import Interrupted, UserError
from rope_mt.training.callbacks.checkpoints import Checkpoints
from rope_mt.training.module import TranslationModule
from rope_mt.training.processes import SIGNALS, Processes


class Interruption(Callback):
    """Saves the step in which a signal came, when it is done, and leaves; a second SIGINT leaves at once.

    So does every signal where several processes train: it reaches them in different steps, and who is in one waits
    there for all others, so they would have to agree on one to save. Such a run goes on from its last validation.
    """

    def __init__(self, checkpoints: Checkpoints, processes: Processes, overwrite: bool = False) -> None:
        self.checkpoints, self.alone = checkpoints, processes.world == 1
        self.overwrite = overwrite  # what the command was told, so that by itself it would not go on
        self.saves = False  # after the step under way
        self.leaves: int | None = None  # the signal to leave for when that is saved
        self.before: dict[int, Any] = {}  # handlers of others

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Answer signals as long as the block lasts; one that was ignored before stays ignored.

        Raises:
            Interrupted: one has come.
        """
        if threading.current_thread() is threading.main_thread():  # no other thread can
            handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
            self.before = {signum: h for signum, h in handlers.items() if h not in (signal.SIG_IGN, None)}
        for signum in self.before:
            signal.signal(signum, self._receive)
        try:
            yield
        except Exception as error:
            if self.leaves and not isinstance(error, UserError):
                raise Interrupted(self.leaves) from error  # the loader's workers had the signal, too, and are gone
            raise
        finally:
            for signum, handler in self.before.items():
                signal.signal(signum, handler)
        if self.leaves:  # it came in the last step
            saved = self.checkpoints.saved_at if self.checkpoints.saved_at >= 0 else None
            raise Interrupted(self.leaves, saved, self.overwrite)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if not self.alone or (signum == signal.SIGINT and self.leaves):
            raise Interrupted(signum)
        self.saves = True
        handler = self.before[signum]
        if signum == signal.SIGTERM and callable(handler):
            handler(signum, frame)  # submitit's does nothing: where a job is to leave, SIGUSR2 follows
        else:
            self.leaves = self.leaves or signum
        if signum == signal.SIGINT:  # written past Python's buffers, which may be in use
            os.write(2, b"rope-mt: leaving after this step; Ctrl-C again leaves at once\n")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TranslationModule)
        if not self.saves or not pl_module.ends_update(batch_idx):
            return
        step, settings = trainer.global_step, pl_module.cfg.trainer
        if step % settings.val_every and step != settings.max_steps:  # those are saved without being asked for it
            self.checkpoints.save(trainer)
            self._saved(step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved(trainer.global_step)

    def _saved(self, step: int) -> None:
        self.saves = False
        if self.leaves:
            raise Interrupted(self.leaves, step, self.overwrite)


def hand_on(interrupted: Interrupted) -> None:
    """Give a signal for which a run was left to whoever else handles it: submitit's handler requeues the job and exits.

    To be called when all that the run had open is closed, as a requeued job may be killed at any moment.
    """
    handler = signal.getsignal(interrupted.signum)
    if callable(handler) and handler is not signal.default_int_handler:
        handler(interrupted.signum, None)
