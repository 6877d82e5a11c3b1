"""How far a long piece of work is: a bar for a person at a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY = 15.0  # seconds between two lines in a log


_taken: Console | None = None  # the console at whose end something lives for longer, as the table of a sweep


@contextmanager
def living_on(console: Console) -> Iterator[None]:
    """Nothing else is drawn at the end of the terminal meanwhile, and text is printed above what lives there."""
    global _taken
    _taken = console
    try:
        yield
    finally:
        _taken = None


def clock(seconds: float) -> str:
    """As in 1:02:03."""
    return str(timedelta(seconds=round(seconds)))


def output() -> Console:
    """The console for standard output."""
    return _taken or Console(highlight=False)


def may_draw(console: Console) -> bool:
    """Whether a bar can live at the end of this console: it is a terminal, and nothing lives there yet."""
    return console.is_terminal and _taken is None


@contextmanager
def progress(
    what: str, total: int | None, unit: str, done: int = 0, scale: float = 1.0
) -> Iterator[Callable[[int], None]]:
    """Show that `what` is under way on standard error; the function given back is called with every amount done.

    Args:
        total: of the whole work, in the smallest unit (bytes, lines); None when nobody knows.
        unit: what `total / scale` is counted in, as in MB.
        done: what an earlier attempt has done already.
    """

    def amount(n: int | float) -> str:
        return f"{n / scale:,.0f}"

    of = f" of {amount(total)}" if total else ""
    console = Console(file=sys.stderr)
    if may_draw(console):
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=total, completed=done)

            def advance(n: int) -> None:
                bar.advance(task, n)
                bar.update(task, description=f"{what}: {amount(bar.tasks[0].completed)}{of} {unit}")

            yield advance
        return

    at, said = done, time.monotonic()

    def advance_line(n: int) -> None:
        nonlocal at, said
        at += n
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            print(f"{what}: {amount(at)}{of} {unit}", file=sys.stderr, flush=True)

    yield advance_line
