"""`rope-mt` for tests that type many commands: each is a process of its own, forked from one that has imported all.

Importing torch, Lightning and W&B takes longer than most of these commands. What a command imports by itself, and how
it behaves as a process, is tested elsewhere (cli/test_help.py, test_packaging.py) by `python -m rope_mt`.

Whoever connects to `python warm.py SOCKET` hands over words, folder, environment and open files, and is told the number
of the process that has them, and then how it has ended. The server ends with the process that has started it.
"""

import atexit
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from rope_mt.system.memory import keep_kernels

CLIENT = """#!{python} -S
import json, os, socket, sys
order = json.dumps({{"words": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(order).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(order)
    pid, code = server.recv(4), server.recv(4)
code = int.from_bytes(code, "big", signed=True)
sys.exit(code if code >= 0 else 128 - code)
"""
IMPORTED = ("cli.messages", "translation.evaluate", "cli.jobs", "translation.translate", "training.train")
IMPORTED += ("training.callbacks.interruption", "sweep.overview", "cli.plan", "sweep.sweep", "study.compare.compare")
IMPORTED += ("study.charts", "study.report", "study.analyze.lengths", "study.analyze.analyze", "bench.train")


def type_command(words: list[str], cwd: Path, log: Path, **env: str) -> subprocess.Popen[bytes]:
    """`rope-mt WORDS` as a user starts it, with a process group of its own; `log` takes what is printed."""
    with open(log, "wb") as output:
        command = [sys.executable, "-m", "rope_mt", *words]
        env = {**os.environ, "WANDB_MODE": "offline", **env}
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=output, start_new_session=True)


@cache
def address() -> str:
    """Where the server is; the first call starts it."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "socket"
    server = subprocess.Popen([sys.executable, __file__, str(path)], stdin=subprocess.PIPE)

    def end() -> None:
        server.communicate()
        shutil.rmtree(folder)

    atexit.register(end)
    while not path.exists():
        assert server.poll() is None
        time.sleep(0.05)
    return str(path)


@cache
def command() -> Path:
    """A script that does what `rope-mt` does."""
    script = Path(address()).with_name("rope-mt")
    script.write_text(CLIENT.format(python=sys.executable, address=address()))
    script.chmod(0o755)
    return script


def start(words: list[str], cwd: Path, log: Path, slow_disk: float = 0.0, **env: str) -> "Forked":
    """As `type_command`; the disk takes `slow_disk` seconds to write a file."""
    order = {"words": words, "cwd": str(cwd), "slow_disk": slow_disk}
    order["env"] = {**os.environ, "WANDB_MODE": "offline", **env}
    data = json.dumps(order).encode()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address())
    with open(log, "wb") as output, open(os.devnull, "rb") as nothing:
        files = [nothing.fileno(), output.fileno(), output.fileno()]
        socket.send_fds(connection, [len(data).to_bytes(8, "big")], files)
    connection.sendall(data)
    return Forked(connection)


class Forked:
    """As much of a subprocess.Popen as the tests need."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid, self.returncode = self._number(), None

    def __del__(self) -> None:
        self._connection.close()

    def _number(self) -> int:
        number = self._connection.recv(4)
        assert len(number) == 4, "the server has gone"
        return int.from_bytes(number, "big", signed=True)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.returncode: int | None = self._number()
            self._connection.close()
        return self.returncode

    def wait(self, timeout: float = 120) -> int:
        if self.returncode is None and not select.select([self._connection], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        self.poll()
        assert self.returncode is not None
        return self.returncode


# ---- the server -----------------------------------------------------------------------------------------------------


def import_all() -> None:
    keep_kernels()
    import sacremoses  # noqa: F401
    import wandb  # noqa: F401
    from hydra.core.plugins import Plugins
    from wandb.sdk.data_types._private import MEDIA_TMP

    for name in IMPORTED:
        import_module(f"rope_mt.{name}")
    Plugins.instance()  # finds them all
    MEDIA_TMP._finalizer.detach()  # a folder that W&B makes when it is imported, and the first command would remove
    atexit.register(shutil.rmtree, MEDIA_TMP.name, ignore_errors=True)
    gc.collect()
    gc.freeze()  # to leave the memory that all share alone


def serve(address: str) -> dict[str, Any]:
    """Fork for each connection; returns in the forked process, with what it is to do."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                sys.exit()
            connection, _ = listening.accept()
            if os.fork():
                connection.close()
                continue
            with connection:
                return take(connection)


def take(connection: socket.socket) -> dict[str, Any]:
    """Fork once more; the parent waits and tells, the child returns with the order and its files in place."""
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    order = b""
    while len(order) < int.from_bytes(size, "big"):
        order += connection.recv(1 << 20)
    if child := os.fork():
        for file in files:  # who reads what is written there waits for the last to close it
            os.close(file)
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(code.to_bytes(4, "big", signed=True))
        os._exit(0)
    os.setsid()  # before anybody knows whom to kill
    connection.sendall(os.getpid().to_bytes(4, "big"))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    for number, name in enumerate(("stdin", "stdout", "stderr")):  # the old ones remember what sort of file they were
        stream = open(number, "w" if number else "r", buffering=1 if number == 2 else -1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    return json.loads(order)


def do(words: list[str], cwd: str, env: dict[str, str], slow_disk: float = 0.0) -> int:
    from rope_mt.cli.main import main

    atexit.unregister(shutil.rmtree)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    if slow_disk:
        os.fsync = lambda handle: time.sleep(slow_disk)
    sys.argv = ["rope-mt", *words]
    return main(words)


if __name__ == "__main__":
    import_all()
    order = serve(sys.argv[1])
    try:
        code = do(**order)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # tearing down all that is imported would take longer than most commands
