"""What Hydra calls for each job: one that fails leaves the others alone, and those of a sweep are kept count of."""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from rope_mt.errors import Interrupted, UserError
from rope_mt.sweep.ledger import FAILED, LEFT_OUT, Entry, Ledger
from rope_mt.system.disk import refused

GROUP = "tracking.group="  # the word that every job of a sweep is given


class Jobs:
    """Does `task` with the configuration of each job, and keeps errors from Hydra, which would end the sweep with them.

    A launcher takes a copy to each process that it starts; there `several` and the like count for nothing.
    """

    def __init__(
        self, task: Callable[..., Any], ledger: Ledger | None = None, words: Sequence[str] = (), here: bool = True
    ) -> None:
        self.task = task
        self.ledger, self.words = ledger, words  # of a sweep; the words are those of its command
        self.here = here  # in the process that reads the command line
        self.several = False
        self.failures: list[BaseException] = []
        self.tell: Callable[[], None] = lambda: None  # how the jobs of the sweep stand

    def __reduce__(self) -> tuple[Any, ...]:
        return Jobs, (self.task, self.ledger, self.words, False)

    def __call__(self, cfg: Any) -> Any:
        self.several = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            return self._of_sweep(self.ledger, cfg) if self.ledger else self.task(OmegaConf.to_object(cfg))
        except Interrupted as interrupted:
            from rope_mt.training.callbacks.interruption import hand_on

            hand_on(interrupted)  # a launcher requeues the job
            raise
        except (Exception, SystemExit) as error:
            if not self.here and (self.ledger is None or isinstance(error, SystemExit)):
                raise  # the launcher carries the error home, or ends the process to requeue the job
            if isinstance(error, OSError):
                error = refused(error) or error
            self.failures.append(error)
            if self.several and not isinstance(error, UserError):
                traceback.print_exception(error)
            elif self.several and not self.ledger:  # a sweep tells by itself
                name = HydraConfig.get().job.override_dirname
                print(f"rope-mt: {name}: {error}" if name else f"rope-mt: {error}", file=sys.stderr)
            return None

    def _of_sweep(self, ledger: Ledger, cfg: Any) -> Any:
        hydra = HydraConfig.get()
        number = int(hydra.job.num)
        entries = {entry.number: entry for entry in ledger.entries()}
        if number in entries:
            name = entries.pop(number).name
        else:  # the sweeper made the job up: what it has chosen
            words = hydra.overrides.task
            name = " ".join(word for word in words if word not in self.words and not word.startswith(GROUP))
        others = entries.values()
        failed = self.failures if self.here else any(entry.state == FAILED for entry in others)
        if cfg.sweep.fail_fast and failed:
            ledger.write(Entry(number, name, LEFT_OUT))
            return None
        try:
            with ledger.job(number, name, requeued=not self.here) as update:
                self.tell()

                def opened(run: Any, steps: int) -> None:
                    for entry in others if cfg.overwrite else ():
                        if entry.run and Path(entry.run).absolute() == run.path.absolute():
                            raise UserError(f"{entry.name} is in {run.path}, too: make the jobs' folders differ")
                    found = run.result.is_file() and not cfg.overwrite
                    update(run=str(run.path), found=found, max_steps=steps)

                return self.task(OmegaConf.to_object(cfg), opened)
        finally:
            self.tell()
