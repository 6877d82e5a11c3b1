"""What is known of the jobs of a sweep: a small file for each, which the process writes that runs it."""

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.system.manifest import read_manifest, write_manifest

WAITING, RUNNING, DONE, FAILED, STOPPED, LEFT_OUT = "waiting", "running", "done", "failed", "stopped", "left out"
TAIL = 65_536  # bytes at the end of a metrics file, in which its last rows are


@dataclass(frozen=True)
class Entry:
    """One job: how it stands, and where its run lies as soon as that is known."""

    number: int  # from 0
    name: str  # the settings that tell it from the other jobs
    state: str = WAITING
    run: str | None = None  # folder
    max_steps: int = 0
    began: float = 0.0  # seconds since 1970, as is the next
    ended: float = 0.0
    host: str = ""
    error: str = ""  # why it failed
    found: bool = False  # its run was finished before the job began
    steps: int = 0  # of a job that is done, as are the next two
    loss: float = 0.0  # on the validation set
    bleu: float = 0.0  # on the test set

    def progress(self) -> dict[str, int | float]:
        """The last step, train/loss and valid/bleu that the run has logged."""
        seen: dict[str, int | float] = {}
        for row in _last_rows(RunFolder(Path(self.run)).metrics) if self.run else ():
            for name in ("step", "train/loss", "valid/bleu"):
                if isinstance(value := row.get(name), int | float):
                    seen[name] = value
        return seen

    def result(self) -> dict[str, Any]:
        """The run's result.json; empty before it has one."""
        run = RunFolder(Path(self.run)) if self.run else None
        return read_result(run) if run and run.result.is_file() else {}


def _last_rows(metrics: Path) -> Iterator[dict[str, Any]]:
    """What is damaged is passed over: this is for a look at a run, which itself refuses it."""
    if not metrics.is_file():
        return
    with open(metrics, "rb") as file:
        start = max(0, metrics.stat().st_size - TAIL)
        file.seek(start)
        lines = file.read().split(b"\n")
    for line in lines[bool(start) : -1]:  # a row that is cut off is at either end
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


class Ledger:
    """The entries in a sweep's folder. Only the process of a job writes its entry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, names: list[str]) -> None:
        """Begin with jobs of these names that wait; what an earlier attempt has left is forgotten.

        Raises:
            UserError: the folder cannot be written.
        """
        for file in self._files():
            file.unlink()
        for number, name in enumerate(names):
            self.write(Entry(number, name))

    def entries(self) -> list[Entry]:
        """All jobs that are known, in order; one whose file is damaged counts as failed."""
        return [self._read(file) for file in self._files()]

    def _read(self, file: Path) -> Entry:
        try:
            found = read_manifest(file, "type the command again")
        except UserError as error:
            return Entry(int(file.stem), file.stem, FAILED, error=str(error))
        kinds = get_type_hints(Entry)
        if found.keys() == kinds.keys() and all(isinstance(found[name], kind) for name, kind in kinds.items()):
            return Entry(**found)
        return Entry(int(file.stem), file.stem, FAILED, error=f"{file} is not of a sweep")

    def write(self, entry: Entry) -> None:
        write_manifest(self._file(entry.number), asdict(entry))

    def _files(self) -> list[Path]:
        return sorted((self.folder / "jobs").glob("[0-9][0-9][0-9][0-9][0-9].json"))

    def _file(self, number: int) -> Path:
        return self.folder / "jobs" / f"{number:05d}.json"

    @contextmanager
    def job(self, number: int, name: str, requeued: bool = False) -> Iterator["Job"]:
        """Keep the entry of one job while it runs; an error ends it as failed, an interrupt as stopped, and goes on.

        Args:
            requeued: a SystemExit is a launcher's, which has put the job into its queue again.
        """
        job = Job(self, Entry(number, name, RUNNING, began=time.time(), host=socket.gethostname()))
        job.update()
        try:
            yield job
        except SystemExit as error:
            with suppress(UserError):  # a full disk must not change how it ends
                if requeued:
                    job.update(state=STOPPED, ended=time.time())
                else:
                    job.update(state=FAILED, error=f"SystemExit: {error}", ended=time.time())
            raise
        except Exception as error:
            said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            try:
                job.update(state=FAILED, error=" ".join(said.split()), ended=time.time())
            except UserError:  # where the disk is full, so that nobody could read it there
                print(f"rope-mt: {name}: {said}", file=sys.stderr)
            raise
        except BaseException:
            with suppress(UserError):
                job.update(state=STOPPED, ended=time.time())
            raise
        result = job.entry.result()
        found = {"steps": result["steps"], "loss": result["valid"]["loss"], "bleu": result["test"]["bleu"]}
        job.update(state=DONE, ended=time.time(), **found)


class Job:
    """The entry of the job that this process runs."""

    def __init__(self, ledger: Ledger, entry: Entry) -> None:
        self.ledger, self.entry = ledger, entry

    def update(self, **changes: Any) -> None:
        self.entry = replace(self.entry, **changes)
        self.ledger.write(self.entry)
