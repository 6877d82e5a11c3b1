"""`rope-mt COMMAND ...`: finds the command and hands it the rest; Hydra reads settings, argparse reads flags.

Nothing heavy is imported before a command needs it: `rope-mt --help` answers at once.
"""

import os
import select
import signal
import sys
import traceback
from contextlib import suppress

from rope_mt import __version__
from rope_mt.cli.commands import COMMANDS
from rope_mt.config.choices import options
from rope_mt.errors import Interrupted, UserError
from rope_mt.system import surroundings
from rope_mt.system.disk import refused
from rope_mt.system.memory import keep_freed, keep_kernels

OVERWRITE = {f"overwrite={yes}" for yes in ("true", "yes", "on", "y", "t", "1")}  # as Hydra takes it


def main(argv: list[str] | None = None) -> int:
    """Run one command line.

    Returns:
        The exit code: 1 when one of several jobs failed, 2 for what the user must mend, 128 + the signal when
        interrupted, 141 when no longer read. Anything unforeseen is raised.
    """
    # Threads that wait spin a little and then sleep. Without this they spin on, which beside another busy process
    # makes training several times slower; torch's threads read it when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    keep_freed()
    keep_kernels()
    words = sys.argv[1:] if argv is None else argv
    try:
        surroundings.make_usable()
        try:
            code = _dispatch(words)
        except SystemExit:  # argparse's, after its help
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except (Interrupted, KeyboardInterrupt) as end:
        after = ""
        if isinstance(end, Interrupted) and end.saved is not None:
            anew = any(word.lstrip("+").lower() in OVERWRITE for word in words)
            command = f"the same command{' without overwrite=true' * anew}"
            after = f"; step {end.saved:,} is saved, and {command} goes on from there"
        _say(f"interrupted{after}")
        return 128 + (end.signum if isinstance(end, Interrupted) else signal.SIGINT)
    except BrokenPipeError:
        if not _reader_gone():
            raise
        return 141
    except (UserError, OSError) as error:
        line = refused(error) if isinstance(error, OSError) else error
        if line is None:
            raise
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exception(error)
        _say(" ".join(str(line).split()))
        return 2
    finally:
        _drop_unwritten()
    return code


def _dispatch(words: list[str]) -> int:
    command, *rest = words or ["--help"]
    # no flag has a slash in it: this is a path in a folder whose name begins with a dash
    below = [word[:1] == "-" and "/" in word and os.path.isdir(word.partition("/")[0]) for word in rest]
    rest = [f"./{word}" if dashed else word for word, dashed in zip(rest, below, strict=True)]
    if command in ("ls", "compare", "analyze", "export"):
        from rope_mt.cli.flags import read_flags

        cfg = read_flags(command, rest)
        COMMANDS[command].load()(cfg)
        return 0
    if command in COMMANDS:
        from rope_mt.cli.hydra import run

        return run(command, rest)
    if command in ("-sc", "--shell-completion"):
        from rope_mt.cli.completion import complete

        return complete(rest)
    if command == "--version":
        print(f"rope-mt {__version__}")
        return 0
    if command in ("--help", "-h", "help"):
        print(_help())
        return 0
    if command.startswith("-") or "=" in command:
        raise UserError(f"a command comes first, as in rope-mt train {command}; there are {', '.join(COMMANDS)}")

    from difflib import get_close_matches

    near = get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean rope-mt {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    raise UserError(f"there is no command {command!r}; {hint}")


def _help() -> str:
    lines = ["rope-mt COMMAND ...: what does a way of encoding position do to translation?", "", "Commands:"]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<11}{command.does}", f"  {'':<11}  {command.example}"]
    lines += ["", "Position schemes, as in rope-mt train position=rope:"]
    lines += [f"  {name:<16}{does}" for name, does in options("position").items()]
    lines += ["", "Every setting: rope-mt COMMAND --help", 'Tab completion: eval "$(rope-mt -sc install=bash)"']
    return "\n".join(lines)


def _say(line: str) -> None:
    with suppress(OSError):  # its disk may be full
        print(f"rope-mt: {line}", file=sys.stderr)


def _drop_unwritten() -> None:
    """Drop what cannot be written on a full disk or to a closed pipe, of which Python would complain as it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _reader_gone() -> bool:
    """Whether standard output is a pipe whose reader has gone."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(state & select.POLLERR for _, state in poll.poll(0))
