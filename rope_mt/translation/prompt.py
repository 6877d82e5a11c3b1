"""A prompt at a terminal: arrow keys edit the line and bring back earlier ones, also those of earlier sessions."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

HISTORY_LINES = 1_000


def history_file() -> Path:
    """The file of typed lines, in the state folder of the XDG specification; a RuntimeError if there is no home."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "rope-mt" / "history"


def typed_lines(prompt: str) -> Iterator[str]:
    """Yield the lines that a person types, stripped and without empty ones. Ctrl-C clears the line, Ctrl-D ends."""
    save_history = _load_history()
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a terminal may send bytes that are not UTF-8
    while True:
        try:
            line = input(prompt).strip()
            save_history()  # at once, since a closed terminal leaves no time for it
        except KeyboardInterrupt:
            print()
            continue
        except EOFError:
            print()
            return
        if line:
            yield line


def _load_history() -> Callable[[], None]:
    """Load the lines of earlier sessions; return a function that saves all lines, where the file can be written."""
    try:
        import readline  # `input` uses it from now on. It writes to the terminal when it is imported
    except ImportError:  # Python can be built without it
        return lambda: None
    readline.set_history_length(HISTORY_LINES)
    with suppress(OSError, RuntimeError):
        readline.read_history_file(history_file())

    def save() -> None:
        with suppress(OSError, RuntimeError):
            file = history_file()
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.write_history_file(file)

    return save
