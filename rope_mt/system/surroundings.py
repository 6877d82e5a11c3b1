"""What libraries take for granted of a machine and its user, made so where it is not: home, name, temporary files."""

import atexit
import getpass
import logging
import os
import resource
import shutil
import sys
import tempfile
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from rope_mt.errors import UserError

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}
MOST_OPEN_FILES = 65_536, 10_240  # the second where macOS, which names no limit, refuses the first
GPU_DRIVERS = ("nvidiactl", "nvmap", "kfd", "dxg")  # in /dev: NVIDIA's, two; AMD's; that of WSL
LONGEST_TMPDIR = 60  # bytes; the path of a socket has 104 at most, and libraries add some forty


def make_usable() -> None:
    """Change the streams and environment of this process, and of those that it starts, where libraries would fail.

    Raises:
        UserError: the working folder is gone, or temporary files can be written nowhere.
    """
    _open_streams()
    logging.raiseExceptions = False  # a log is no reason for a traceback: of a full disk, or where nobody reads it
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(f"the working folder cannot be found ({error.strerror}): cd to a folder that exists") from error
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # of no launcher that this project heeds; Lightning would heed a part
        for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)
    if not os.environ.get("OMP_NUM_THREADS", "1").strip():  # OpenMP warns of an empty value
        del os.environ["OMP_NUM_THREADS"]
    _allow_open_files()
    _find_temporary()
    _find_user()
    _find_home()


def _open_streams() -> None:
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


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in MOST_OPEN_FILES:
        wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                return


def _find_temporary() -> None:
    """Take another TMPDIR where the given one is missing, or too long for the sockets of W&B and of multiprocessing."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UserError("temporary files can be written nowhere: set TMPDIR to a folder that is writable") from error
    if len(os.fsencode(folder)) > LONGEST_TMPDIR:
        folder = next(filter(_is_writable, ("/tmp", "/var/tmp")), folder)
    if os.environ.get("TMPDIR", folder) != folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder


def _find_user() -> None:
    """Give a name to a user without one, as containers have: W&B, torch and our locks ask for it."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"user-{os.getuid()}"


def _find_home() -> None:
    """Let libraries write caches to a temporary folder where the home folder is missing or cannot be written.

    A home folder that can be read keeps its place, since it may hold the login of W&B.
    """
    home = os.path.expanduser("~")
    if os.environ.get("HOME") != "" and _is_writable(home):
        return
    scratch = tempfile.mkdtemp(prefix="rope-mt-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    if not os.environ.get("HOME") or not os.path.isdir(home):
        os.environ["HOME"] = scratch
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR"):
        os.environ.setdefault(name, scratch)


def _is_writable(folder: str) -> bool:
    """Whether a file can be made in the folder; permissions alone do not tell, on a network's disk."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def refuse_device(wanted: str, setting: str) -> None:
    """Raise a UserError if the machine cannot have this device; torch, which knows, takes seconds to import."""
    drivers = {"cuda": any(Path("/dev", name).exists() for name in GPU_DRIVERS), "mps": sys.platform == "darwin"}
    if not drivers.get(wanted, True):
        raise UserError(f"this machine has no {wanted} device: use {setting}=cpu, or auto")
