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
from rope_mt.training.callbacks.checkpoints import Checkpoints, is_averaged
from rope_mt.training.module import TranslationModule
from rope_mt.training.processes import SIGNALS


class Interruption(Callback):
    """Saves the step in which a signal came, when it is done, and leaves; a second SIGINT leaves at once.

    Several processes leave at once: the signal reaches them in different steps, and in each step they wait for each
    other, so they would have to agree on one to save. Such a run resumes from its last validation.
    """

    def __init__(self, module: TranslationModule, checkpoints: Checkpoints) -> None:
        self.module, self.checkpoints = module, checkpoints
        self.saves = False  # after the step under way
        self.signal: int | None = None  # to leave for, when that step is saved
        self.handlers: dict[int, Any] = {}  # of others, before ours

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Answer signals inside the block; a signal that was ignored before stays ignored.

        Raises:
            Interrupted: a signal has come.
        """
        if threading.current_thread() is threading.main_thread():  # other threads may not
            handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
            self.handlers = {signum: h for signum, h in handlers.items() if h not in (signal.SIG_IGN, None)}
        for signum in self.handlers:
            signal.signal(signum, self._receive)
        try:
            yield
        except Exception as error:
            if self.signal and not isinstance(error, UserError):
                raise Interrupted(self.signal) from error  # the signal has ended the loader's workers as well
            raise
        finally:
            for signum, handler in self.handlers.items():
                signal.signal(signum, handler)
        if self.signal:  # it came in the last step
            raise Interrupted(self.signal, self.checkpoints.saved_at)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self.module.processes.world > 1 or (signum == signal.SIGINT and self.signal):
            raise Interrupted(signum)
        self.saves = True
        handler = self.handlers[signum]
        if signum == signal.SIGTERM and callable(handler):
            handler(signum, frame)  # submitit's does nothing: if a job is to leave, SIGUSR2 follows
        else:
            self.signal = self.signal or signum
        if signum == signal.SIGINT:  # written past Python's buffers, which may be in use
            os.write(2, b"rope-mt: leaving after this step; Ctrl-C again leaves at once\n")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if self.saves and self.module.ends_update(batch_idx) and not is_averaged(self.module.cfg.trainer, step):
            self.checkpoints.save(trainer)  # after a validation, the step is saved without a signal
            self._leave(step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._leave(trainer.global_step)

    def _leave(self, step: int) -> None:
        self.saves = False
        if self.signal:
            raise Interrupted(self.signal, step)


def hand_on(interrupted: Interrupted) -> None:
    """Hand a signal to whoever else handles it: submitit's handler requeues the job and exits.

    To be called when the run has closed all its files, as a requeued job may be killed at any moment.
    """
    handler = signal.getsignal(interrupted.signum)
    if callable(handler) and handler is not signal.default_int_handler:
        handler(interrupted.signum, None)
