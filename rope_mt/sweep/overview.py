"""How the jobs of a sweep stand: a table below their output at a terminal, a line at each change in a log."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rope_mt.sweep.ledger import DONE, FAILED, LEFT_OUT, RUNNING, STOPPED, WAITING, Entry, Ledger
from rope_mt.system.progress import clock, living_on, output

EVERY = 1.0  # seconds from one look at the files to the next
STYLES = {RUNNING: "bold", DONE: "green", FAILED: "red", STOPPED: "yellow", LEFT_OUT: "yellow", WAITING: "dim"}
FIRST_SHOWN = (RUNNING, FAILED, STOPPED, WAITING, DONE, LEFT_OUT)  # where a terminal has no room for all


class Overview:
    """Reads the ledger; may be asked by several threads."""

    def __init__(self, ledger: Ledger, planned: int | None) -> None:
        self.ledger, self.planned = ledger, planned  # jobs; None: the sweeper makes them up as it goes
        self.told: dict[int, str] = {}  # the state of each job that was last told
        self.first_seen: dict[
            int, tuple[float, int | float]
        ] = {}  # of each running job: a time and the step it then was at
        self.lock = threading.Lock()

    def tell(self) -> None:
        """Print a line for each job that has begun or ended since the last time."""
        with self.lock:
            for entry in self.ledger.entries():
                if entry.state != self.told.get(entry.number, WAITING):
                    print(self._line(entry), file=sys.stderr if entry.state == FAILED else sys.stdout, flush=True)
                    self.told[entry.number] = entry.state

    def _line(self, entry: Entry) -> str:
        if entry.state == FAILED:
            return f"rope-mt: {entry.name}: {entry.error}"
        said = f"job {entry.number + 1}" + (f" of {self.planned}" if self.planned else "")
        said = f"{said}, {entry.name}: {'found done' if entry.found and entry.state == DONE else entry.state}"
        if entry.state == DONE:
            said += f", BLEU {entry.bleu:.2f}" + ("" if entry.found else f", in {clock(entry.ended - entry.began)}")
        return said

    def table(self, rows: int | None = None) -> Group:
        """A row a job, as many as `rows` where that is given, and the number of jobs in each state below."""
        entries = self.ledger.entries()
        out = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("job", "state", "step", "loss", "BLEU", "time", "left"):
            out.add_column(column, justify="left" if column in ("job", "state") else "right", no_wrap=column != "job")
        left = {entry.number: self._left(entry) for entry in entries}
        shown = sorted(entries, key=lambda entry: FIRST_SHOWN.index(entry.state))[:rows]
        for entry in sorted(shown, key=lambda entry: entry.number):
            out.add_row(Text(entry.name), Text(entry.state, STYLES[entry.state]), *_figures(entry), left[entry.number])
        return Group(out, Text(self._summary(entries), "dim"))

    def _summary(self, entries: list[Entry]) -> str:
        counts = {state: sum(entry.state == state for entry in entries) for state in STYLES}
        said = [f"{count} {state}" for state, count in counts.items() if count]
        took = [entry.ended - entry.began for entry in entries if entry.state == DONE and not entry.found]
        if took and counts[WAITING]:
            said.append(f"which take about {clock(counts[WAITING] * sum(took) / len(took))}")
        return ", ".join(said)

    def _left(self, entry: Entry) -> str:
        """Time to the last step, by the steps since this job was first seen in one."""
        step = entry.progress().get("step") if entry.state == RUNNING else None
        if step is None:
            return ""
        since, first = self.first_seen.setdefault(entry.number, (time.time(), step))
        if step == first:
            return ""
        return clock((entry.max_steps - step) * (time.time() - since) / (step - first))


def _figures(entry: Entry) -> list[str]:
    """Step, loss, BLEU and time: of a running job those last logged, of one that is done those of its result."""
    if entry.state == DONE:
        step, loss, bleu = entry.steps, entry.loss, f"{entry.bleu:.2f}"
    else:
        seen = entry.progress()
        step, loss = seen.get("step"), seen.get("train/loss")
        bleu = f"{seen['valid/bleu']:.2f}" if "valid/bleu" in seen else ""
    took = (entry.ended or time.time()) - entry.began if entry.began and not entry.found else None
    return [
        "" if step is None else f"{step:,.0f}",
        "" if loss is None else f"{loss:.3f}",
        bleu,
        "" if took is None else clock(took),
    ]


def _live(overview: Overview, console: Console) -> Live:
    """The table below whatever is printed; what comes when all is over prints it in full."""

    def table() -> Group:
        return overview.table(max(3, console.height // 3))

    return Live(get_renderable=table, console=console, refresh_per_second=1 / EVERY, transient=True)


@contextmanager
def watched(ledger: Ledger, planned: int | None) -> Iterator[Overview]:
    """Show how the jobs stand until the block ends."""
    overview = Overview(ledger, planned)
    console = output()
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(EVERY):
            with suppress(OSError):  # the disk of the output may be full: the end tells
                overview.tell()

    watching = threading.Thread(target=poll, daemon=True)
    with ExitStack() as stack:
        if console.is_terminal:
            stack.enter_context(_live(overview, console))
            stack.enter_context(living_on(console))
        watching.start()
        try:
            yield overview
        finally:
            ended.set()
            watching.join()
            overview.tell()
