"""A loader of batches, in this process or in workers, that a resumed run continues with the very next batch.

Workers import this file and what it imports. Nothing here imports Lightning, which would take each of them seconds.
"""

import os
import threading
from collections.abc import Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from rope_mt.data.batches import Batch, PairDataset
from rope_mt.data.epoch import EpochPlan
from rope_mt.errors import UserError

# of one that was not made whole; without it, torch prints a traceback when it is dropped
_MultiProcessingDataLoaderIter._shutdown = True  # pyright: ignore[reportAttributeAccessIssue]


def _end_with_parent(worker: int) -> None:
    """End this worker when the training process is gone, even if it was killed; torch watches the fork server alone."""
    os.setpgrp()  # Ctrl-C is for the training process, which finishes its step
    parent = parent_process()
    assert parent is not None

    def end() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


class ResumableLoader(DataLoader[Batch]):
    """A loader whose state is (epoch, batches drawn); Lightning saves and restores it with a checkpoint.

    The state is the same in every process. The plan has a length: without one, Lightning would draw a batch ahead of
    the one that is trained on.

    Args:
        pin: put batches where a GPU can fetch them without waiting.

    Raises:
        UserError: while it is read: the machine does not give what workers need, or has ended one.
    """

    def __init__(self, dataset: PairDataset, plan: EpochPlan, workers: int, pin: bool = False) -> None:
        context = None
        if workers:
            # workers are forked from a server without threads: a worker that is forked from a process with threads can
            # stay locked for ever, which happened in one of a dozen runs of two processes
            context = get_context("forkserver")
            context.set_forkserver_preload(["rope_mt.data.loader"])
        super().__init__(
            dataset,
            sampler=plan,
            batch_size=None,
            num_workers=workers,
            multiprocessing_context=context,
            worker_init_fn=_end_with_parent if workers else None,
            pin_memory=pin,
        )
        self.plan, self.drawn = plan, 0

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]: torch's is private
        if self.drawn >= len(self.plan):  # here, as Lightning never asks for a batch beyond the length
            self.plan.epoch += 1
            self.drawn = 0
        self.plan.start = self.drawn
        try:
            for batch in super().__iter__():
                self.drawn += 1
                yield batch
        except (OSError, RuntimeError) as error:
            if not self.num_workers or (isinstance(error, RuntimeError) and "DataLoader worker" not in str(error)):
                raise
            reason = " ".join(str(error).split())
            remedy = f"take fewer than data.workers={self.num_workers}, or data.workers=0"
            raise UserError(f"a process that assembles batches failed ({reason}): {remedy}") from error

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.plan.epoch, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.plan.epoch, self.drawn = state["epoch"], state["drawn"]
