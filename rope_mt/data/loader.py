"""What draws batches, in this process or in workers, and goes on at the very next one where a run is resumed.

Workers import this file and no more, which is why nothing of Lightning is here.
"""

import os
import threading
from collections.abc import Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

from torch.utils.data import DataLoader

from rope_mt.data.batches import Batch, PairDataset
from rope_mt.data.epoch import EpochPlan


def _end_with_parent(worker: int) -> None:
    """End this worker when the training process is gone, however it went; torch looks at the server alone."""
    os.setpgrp()  # Ctrl-C is for the training process, which finishes its step
    parent = parent_process()
    assert parent is not None

    def end() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


class ResumableLoader(DataLoader[Batch]):
    """A loader whose state is (epoch, batches drawn): after `load_state_dict` it goes on with the very next batch.

    Lightning saves and restores this state with a checkpoint; it is the same on every rank. It needs the length of the
    epoch, or it would draw one batch ahead of what has been trained on.

    Args:
        pin: put batches where a GPU can fetch them without waiting.
    """

    def __init__(self, dataset: PairDataset, plan: EpochPlan, workers: int, pin: bool = False) -> None:
        context = None
        if workers:
            # forked from a server without threads, since a process with threads that forks can leave a worker locked
            # for ever: seen in one of a dozen runs of two processes
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

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]: torch's is private
        # rolled over here and not after the last batch, since Lightning never asks for a batch beyond the length
        if self.drawn >= len(self.plan):
            self.plan.epoch += 1
            self.drawn = 0
        self.plan.start = self.drawn
        for batch in super().__iter__():
            self.drawn += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.plan.epoch, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.plan.epoch, self.drawn = state["epoch"], state["drawn"]
