"""How far a long piece of work is: a bar for a person at a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY = 15.0  # seconds between two lines in a log

_occupied: Console | None = None  # the console that shows the table of a sweep at its end


@contextmanager
def living_on(console: Console) -> Iterator[None]:
    """Reserve the end of the terminal for the block: no bar is drawn there, and text is printed above it."""
    global _occupied
    _occupied = console
    try:
        yield
    finally:
        _occupied = None


def output() -> Console:
    """The console for standard output."""
    return _occupied or Console(highlight=False)


def may_draw(console: Console) -> bool:
    """Whether a bar can be drawn: the console is a terminal that moves its cursor, and the end of it is not reserved.

    rich itself takes a file for a terminal where FORCE_COLOR asks for colours.
    """
    moves = console.is_terminal and console.file.isatty() and not console.is_dumb_terminal
    return moves and _occupied is None


def clock(seconds: float) -> str:
    """A time as in 1:02:03."""
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def progress(
    work: str, total: int | None, unit: str, done: int = 0, scale: float = 1.0
) -> Iterator[Callable[[int], None]]:
    """Show on standard error that work is under way. The block calls the returned function with every amount done.

    Args:
        total: amount of the whole work, in the smallest unit (bytes, lines); None if it is unknown.
        unit: name of `scale` smallest units, as in MB.
        done: amount that an earlier attempt has done.
    """
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    printed = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not may_draw(console)) as bar:
        task = bar.add_task(work, total=total, completed=done)

        def advance(amount: int) -> None:
            nonlocal printed
            bar.advance(task, amount)
            of_total = f" of {total / scale:,.0f}" if total else ""
            line = f"{work}: {bar.tasks[0].completed / scale:,.0f}{of_total} {unit}"
            bar.update(task, description=line)
            if bar.disable and time.monotonic() - printed >= LINE_EVERY:
                printed = time.monotonic()
                print(line, file=sys.stderr, flush=True)

        yield advance
