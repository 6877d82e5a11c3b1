"""The jobs of a sweep while they run: a table below their output at a terminal, a line at each change in a log."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rope_mt.sweep.ledger import DONE, FAILED, LEFT_OUT, RUNNING, SCORING, STOPPED, WAITING, Entry, Ledger
from rope_mt.system.progress import clock, living_on, may_draw, output

EVERY = 1.0  # seconds from one look at the files to the next
STYLES = {RUNNING: "bold", SCORING: "bold", DONE: "green", FAILED: "red", STOPPED: "yellow", LEFT_OUT: "yellow"}
STYLES |= {WAITING: "dim"}
FIRST_SHOWN = (RUNNING, SCORING, FAILED, STOPPED, WAITING, DONE, LEFT_OUT)  # in a terminal without room for all jobs
LOGGED = {"step": ",.0f", "train/loss": ".3f", "valid/loss": ".3f", "valid/bleu": ".2f"}


class Overview:
    """Shows a ledger whose jobs wait, unless the sweeper draws them; several threads may ask."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.planned = len(ledger.entries())  # 0 if the sweeper draws the jobs
        self.printed: dict[int, str] = {}  # the state of each job that was last printed
        self.first_seen: dict[int, tuple[float, float]] = {}  # of each running job: a time and its step then
        self.lock = threading.Lock()

    def tell(self) -> None:
        """Print a line for each job that has begun or ended since the last time."""
        with self.lock:
            for entry in self.ledger.entries():
                if entry.state != self.printed.get(entry.number, WAITING):
                    print(self._line(entry), file=sys.stderr if entry.state == FAILED else sys.stdout, flush=True)
                    self.printed[entry.number] = entry.state

    def _line(self, entry: Entry) -> str:
        if entry.state == FAILED:
            return f"rope-mt: {entry.name}: {entry.error}"
        job = f"job {entry.number + 1} of {self.planned}" if self.planned else f"job {entry.number + 1}"
        if entry.state != DONE:
            return f"{job}, {entry.name}: {entry.state}"
        if entry.found:
            return f"{job}, {entry.name}: found done, BLEU {entry.bleu:.2f}"
        return f"{job}, {entry.name}: done, BLEU {entry.bleu:.2f}, in {clock(entry.ended - entry.began)}"

    def table(self, rows: int | None = None) -> Group:
        """A row for each job, at most `rows`, and below them the number of jobs in each state."""
        entries = self.ledger.entries()
        table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
        for column in ("job", "state", "step", "train loss", "valid loss", "valid BLEU", "test BLEU", "time", "left"):
            justify = "left" if column in ("job", "state") else "right"
            table.add_column(column.replace(" ", "\n"), justify=justify, no_wrap=column != "job")
        left = {entry.number: self._left(entry) for entry in entries}
        shown = sorted(entries, key=lambda entry: FIRST_SHOWN.index(entry.state))[:rows]
        for entry in sorted(shown, key=lambda entry: entry.number):
            state = Text(entry.state, STYLES[entry.state])
            table.add_row(Text(entry.name), state, *_figures(entry), left[entry.number])
        return Group(table, Text(_summary(entries), "dim"))

    def _left(self, entry: Entry) -> str:
        """Time to the last step of a running job, from its speed since it was first seen."""
        step = entry.progress().get("step") if entry.state == RUNNING else None
        if step is None:
            return ""
        since, first = self.first_seen.setdefault(entry.number, (time.time(), step))
        return clock((entry.max_steps - step) * (time.time() - since) / (step - first)) if step > first else ""


def _figures(entry: Entry) -> list[str]:
    """What training has logged last, BLEU of the test set, and the time that the job takes or took."""
    logged = entry.progress()
    texts = ["" if logged.get(name) is None else format(logged[name], form) for name, form in LOGGED.items()]
    has_run = entry.began and not entry.found
    bleu = f"{entry.bleu:.2f}" if entry.state == DONE else ""
    return [*texts, bleu, clock((entry.ended or time.time()) - entry.began) if has_run else ""]


def _summary(entries: list[Entry]) -> str:
    counts = {state: sum(entry.state == state for entry in entries) for state in STYLES}
    parts = [f"{count} {state}" for state, count in counts.items() if count]
    times = [entry.ended - entry.began for entry in entries if entry.state == DONE and not entry.found]
    if times and counts[WAITING]:
        parts.append(f"which take about {clock(counts[WAITING] * sum(times) / len(times))}")
    return ", ".join(parts)


@contextmanager
def watched(ledger: Ledger) -> Iterator[Overview]:
    """Show the state of the jobs until the block ends."""
    overview = Overview(ledger)
    console = output()
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(EVERY):
            with suppress(OSError):  # the disk of the output may be full: the last line below says so
                overview.tell()

    def table() -> Group:
        return overview.table(max(3, console.height // 3))

    polling = threading.Thread(target=poll, daemon=True)
    with ExitStack() as stack:
        if may_draw(console):
            live = Live(get_renderable=table, console=console, refresh_per_second=1 / EVERY, transient=True)
            stack.enter_context(live)
            stack.enter_context(living_on(console))
        polling.start()
        try:
            yield overview
        finally:
            ended.set()
            polling.join()
            overview.tell()
