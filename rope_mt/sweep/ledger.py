"""The state of each job of a sweep, in a small file that the process of the job writes."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder, last_logged
from rope_mt.runs.result import read_result
from rope_mt.system.manifest import read_manifest, write_manifest

WAITING, RUNNING, SCORING, DONE = "waiting", "running", "scoring", "done"
FAILED, STOPPED, LEFT_OUT = "failed", "stopped", "left out"


@dataclass(frozen=True)
class Entry:
    """One job: its state and, as soon as that is known, the folder of its run."""

    number: int  # from 0
    name: str  # the settings that tell it from the other jobs
    state: str = WAITING
    run: str | None = None  # folder
    max_steps: int = 0
    began: float = 0.0  # seconds since 1970
    ended: float = 0.0  # seconds since 1970
    host: str = ""
    error: str = ""  # of a job that failed
    found: bool = False  # its run had finished before the job began
    bleu: float = 0.0  # of a job that is done, on the test set

    def progress(self) -> dict[str, float]:
        """The last step, train/loss, valid/loss and valid/bleu that the run has logged."""
        return last_logged(RunFolder(Path(self.run))) if self.run else {}


class Ledger:
    """The entries in a sweep's folder. Only the process of a job writes its entry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, names: list[str]) -> None:
        """Begin with waiting jobs of these names, and forget an earlier attempt: its entries, and how it ended."""
        for file in (*self._files(), *self.folder.glob("sweep.*")):
            file.unlink()
        for number, name in enumerate(names):
            self.write(Entry(number, name))

    def entries(self) -> list[Entry]:
        """All jobs in order; one whose file is damaged counts as failed, and the folder says whether one is scored."""
        entries = []
        for file in self._files():
            try:
                entry = Entry(**read_manifest(file, "type the command again"))
            except (UserError, TypeError) as error:  # a TypeError: the fields are those of another version of rope-mt
                entry = Entry(int(file.stem), file.stem, FAILED, error=str(error))
            if entry.state == RUNNING and entry.run and RunFolder(Path(entry.run)).is_scoring():
                entry = replace(entry, state=SCORING)
            entries.append(entry)
        return entries

    def write(self, entry: Entry) -> None:
        write_manifest(self.folder / "jobs" / f"{entry.number:05d}.json", asdict(entry))

    def _files(self) -> list[Path]:
        return sorted((self.folder / "jobs").glob("[0-9][0-9][0-9][0-9][0-9].json"))

    @contextmanager
    def job(self, number: int, name: str, requeued: bool = False) -> Iterator[Callable[..., None]]:
        """Keep the entry of one job while it runs: an error ends it as failed, an interrupt as stopped.

        Args:
            requeued: a SystemExit comes from a launcher that has put the job into its queue again.

        Yields:
            A function that changes values of the entry, as in update(run="outputs/a").
        """
        entry = Entry(number, name)

        def update(**changes: Any) -> None:
            nonlocal entry
            entry = replace(entry, **changes)
            self.write(entry)

        update(state=RUNNING, began=time.time(), host=socket.gethostname())
        try:
            yield update
        except BaseException as error:
            failed = isinstance(error, Exception) or (isinstance(error, SystemExit) and not requeued)
            message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            line = " ".join(message.split()) if failed else ""
            try:
                update(state=FAILED if failed else STOPPED, error=line, ended=time.time())
            except UserError:  # the disk is full, so that nobody could read it there
                if line:
                    print(f"rope-mt: {name}: {line}", file=sys.stderr)
            raise
        result = read_result(RunFolder(Path(str(entry.run))))
        update(state=DONE, ended=time.time(), bleu=result["test"]["bleu"])
