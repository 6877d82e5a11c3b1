"""Several processes that train one model: the one who starts them, and what each needs to know of the others."""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rope_mt.config.training import TrainerConfig
from rope_mt.data.prepare import cores
from rope_mt.errors import Interrupted, UserError
from rope_mt.runs.checkpoint import latest, step_of
from rope_mt.runs.folder import RunFolder
from rope_mt.system.device import choose_device
from rope_mt.system.files import empty_folder

# SIGTERM comes from `kill`, schedulers and containers, SIGINT from Ctrl-C, SIGHUP from a terminal that is closed, and
# SIGUSR2 from SLURM before a job's time is up, where submitit asks for it.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


@dataclass(frozen=True)
class Processes:
    """This one's rank, of which 0 writes and prints for all; their number, and the number of those on this machine."""

    rank: int = 0
    world: int = 1
    on_machine: int = 1

    @classmethod
    def of_environment(cls) -> "Processes":
        """As torch's elastic launcher has told this process; alone where no launcher has started it."""
        if not dist.is_torchelastic_launched():
            return cls()
        return cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))

    def total(self, nats: Tensor, tokens: int) -> tuple[Tensor, int | Tensor]:
        """The loss and the tokens of all processes; of several they stay on the device, so that no process waits."""
        if self.world == 1:
            return nats, tokens
        both = torch.stack((nats.double(), torch.full_like(nats, tokens, dtype=torch.float64)))
        dist.all_reduce(both)
        return both[0], both[1]


ALONE = Processes()


def processes_of(cfg: TrainerConfig) -> int:
    """The number of training processes: on each machine `trainer.devices`, or one a GPU, and on a CPU one.

    Raises:
        UserError: this machine has no such device, or fewer GPUs.
    """
    device = choose_device(cfg.device, "trainer.device")
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    devices = max(1, gpus) if cfg.devices == "auto" else cfg.devices
    if gpus and devices > gpus:
        raise UserError(f"trainer.devices={devices}, and this machine has {gpus} GPUs")
    return devices * cfg.machines


def launch(run: RunFolder, n: int) -> None:
    """Train the run in n processes of this machine, with torch's elastic launcher, and wait for their end.

    The first one prints to the terminal. All else that they print is in the logs of the run.

    Raises:
        UserError: one has failed, which ends the others.
        Interrupted: a signal has come, which has ended all.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.Logger.manager.loggerDict):  # each has a level of its own
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    threads = os.environ.get("OMP_NUM_THREADS")  # which the next job of a sweep finds as it was
    os.environ["OMP_NUM_THREADS"] = threads or str(max(1, cores() // n))
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(signum.name for signum in SIGNALS)
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    empty_folder(run.logs)
    redirects = {rank: Std.ERR if rank == 0 else Std.ALL for rank in range(n)}
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="train",
        max_restarts=0,
        monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(log_dir=str(run.logs), redirects=redirects),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "rope_mt.training.fit", str(run.path), str(os.getpid()))
    except SignalException as error:
        last = latest(run)
        raise Interrupted(int(error.sigval), step_of(last) if last else None) from error
    except ChildFailedError as error:
        raise failure_of(run, n, error.failures) from error
    finally:
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def failure_of(run: RunFolder, n: int, failures: Mapping[int, Any]) -> UserError:
    """One line on a run whose training processes have failed: the line that one has left for the user, or its end.

    torch tells when each has ended in whole seconds, and in one second a process is killed, others lose their
    connection to it, and the launcher ends the rest with SIGTERM: so they are looked at in this order.

    Args:
        failures: torch's ProcessFailure by rank.
    """

    def order(rank: int) -> tuple[bool, bool, int]:
        code = failures[rank].exitcode
        return code == -signal.SIGTERM, code > 0, failures[rank].timestamp

    for failure in failures.values():
        about = failure.error_file_data["message"]
        message = about["message"] if isinstance(about, dict) else about
        if message.startswith("UserError: "):
            return UserError(message.removeprefix("UserError: "))
    rank = min(failures, key=order)
    code = failures[rank].exitcode
    reason = f"killed by {failures[rank].signal_name()}" if code < 0 else f"exit code {code}"
    log = next(run.logs.glob(f"*/attempt_0/{rank}/stderr.log"), run.logs)
    return UserError(f"training process {rank} of {n} has failed ({reason}): its log is {log}")
