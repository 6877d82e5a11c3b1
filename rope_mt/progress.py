"""How far a long piece of work is: a bar for a person at a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY = 15.0  # seconds between two lines in a log


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
    if console.is_terminal:
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
