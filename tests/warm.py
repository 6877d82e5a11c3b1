"""`rope-mt` for tests that type many commands: each is a process of its own, forked from one that has imported all.

Importing torch, Lightning and W&B takes longer than most of these commands. What a command imports by itself, and how
it behaves as a process, is tested elsewhere (test_cli.py, test_packaging.py) by `python -m rope_mt`.

`command()` is a script to be called in the place of `rope-mt`. It hands its words, folder, environment and open files
to `python warm.py SOCKET`, which forks for each, and ends with the process that has started it.
"""

import atexit
import gc
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from functools import cache
from pathlib import Path

CLIENT = """#!{python} -S
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(said).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(said)
    code = server.recv(1)
sys.exit(code[0] if code else 70)
"""


@cache
def command() -> Path:
    """The script; the first call starts the server."""
    folder = Path(tempfile.mkdtemp())
    address, script = str(folder / "socket"), folder / "rope-mt"
    script.write_text(CLIENT.format(python=sys.executable, address=address))
    script.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, address], stdin=subprocess.PIPE)

    def end() -> None:
        server.communicate()
        shutil.rmtree(folder)

    atexit.register(end)
    while not Path(address).exists():
        assert server.poll() is None
        time.sleep(0.05)
    return script


def import_all() -> None:
    import wandb  # noqa: F401
    from lightning.pytorch.trainer.connectors import data_connector  # noqa: F401
    from wandb.sdk.data_types._private import MEDIA_TMP

    for name in ("training.train", "evaluation", "translate_command", "study.compare", "study.analyze", "bench.train"):
        __import__(f"rope_mt.{name}")
    MEDIA_TMP._finalizer.detach()  # a folder that W&B makes when it is imported, and the first command would remove
    atexit.register(shutil.rmtree, MEDIA_TMP.name, ignore_errors=True)
    gc.collect()
    gc.freeze()  # to leave the memory that all share alone


def serve(address: str) -> list[str]:
    """Fork for each command; returns in the forked process, ready to run the words that it returns."""
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
            child = os.fork()  # of the process that waits for it and tells how it has ended
            if child:
                _, status = os.waitpid(child, 0)
                code = os.waitstatus_to_exitcode(status)
                connection.sendall(bytes([code if code >= 0 else 128 - code]))
                os._exit(0)
            break
    with connection:
        size, files, _, _ = socket.recv_fds(connection, 8, 3)
        said = b""
        while len(said) < int.from_bytes(size, "big"):
            said += connection.recv(1 << 20)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    words, folder, environment = json.loads(said)
    atexit.unregister(shutil.rmtree)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["rope-mt", *words]
    return words


if __name__ == "__main__":
    import_all()
    from rope_mt.cli import main

    try:
        code = main(serve(sys.argv[1]))
    except Exception:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # tearing down all that is imported would take longer than most commands
