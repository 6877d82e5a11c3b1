"""Standard input, output and error, usable whatever the program was started with."""

import os
import sys
from io import TextIOWrapper

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


def make_usable() -> None:
    """Open closed streams on /dev/null, and let standard output replace characters that its encoding does not have.

    The next file that is opened gets the lowest free number. If 1 were free, that file might be a checkpoint, and what
    other libraries print would go into it.
    """
    for name, mode in STREAMS.items():
        if getattr(sys, name) is None:  # Python found it closed
            stream = open(os.devnull, mode)  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def was_closed(stream: object) -> bool:
    """Whether `make_usable` had to open this stream."""
    return getattr(stream, "name", "") == os.devnull
