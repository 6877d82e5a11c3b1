"""A prompt for a person at a terminal: arrow keys edit the line and fetch earlier ones, also those of other days."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

KEPT = 1_000  # lines of history


def history_file() -> Path:
    """Where typed lines are kept: in the state folder of the XDG base directory specification.

    Raises:
        RuntimeError: there is no home folder.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "rope-mt" / "history"


def typed(prompt: str) -> Iterator[str]:
    """Lines without the blanks around them, empty ones left out, until Ctrl-D. Ctrl-C begins the line anew."""
    keep = _history()
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a terminal may send what is not UTF-8
    while True:
        try:
            line = input(prompt).strip()
            keep()  # at once: a closed terminal leaves no time for it at the end
        except KeyboardInterrupt:
            print()
            continue
        except EOFError:
            print()
            return
        if line:
            yield line


def _history() -> Callable[[], None]:
    """Bring back the lines of earlier sessions; the function given back writes them down, if it can."""
    try:
        import readline  # `input` asks it from now on. Not at the top: it writes to the terminal when it is imported
    except ImportError:  # Python can be built without it
        return lambda: None
    readline.set_history_length(KEPT)
    with suppress(OSError, RuntimeError):
        readline.read_history_file(history_file())

    def keep() -> None:
        with suppress(OSError, RuntimeError):
            file = history_file()
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.write_history_file(file)

    return keep
