"""By hand, a minute: pytest -s tests/soak/two_machines.py

The documented commands for several machines, with two launchers of this machine that meet on the loopback address.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from rope_mt.cli.main import main

from ..training.killed_run import STEPS, words


def test_two_launchers_train_one_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = ["train", *words(tmp_path), "trainer.machines=2", "hydra.run.dir=run"]
    assert main(typed) == 0
    assert not Path("run/result.json").exists()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "-m", "rope_mt.training.fit"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    machines = [subprocess.Popen([*torchrun, str(tmp_path / "run")], env=env) for _ in range(2)]
    assert [machine.wait(timeout=300) for machine in machines] == [0, 0]
    assert main(typed) == 0
    result = json.loads(Path("run/result.json").read_text())
    assert (result["processes"], result["steps"]) == (2, STEPS)
