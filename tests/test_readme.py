"""Every command of the README runs as it stands there, but for a limit on its length."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMITS = "trainer.max_steps=20 trainer.val_sentences=20"


def commands() -> list[str]:
    """The rope-mt commands of the README's bash blocks, in order; of a line that installs first, its last part."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.sub(r".*&& ", "", line).replace(".venv/bin/", "") for line in lines if line]
    return [command for command in found if not command.startswith("pytest")]


def limited(command: str) -> str:
    """The command with a limit appended where it trains."""
    return f"{command} {LIMITS}" if command.startswith("rope-mt train") else command


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the reader sits: the corpora that the README says to put there are there, if they can be had."""
    folder = tmp_path_factory.mktemp("reader")
    corpora = os.environ.get("ROPE_MT_CORPORA")
    if corpora:
        (folder / "data" / "multi30k").mkdir(parents=True)
        names = {"train": "train/multi30k-train", "val": "test/multi30k-val"}
        for name, source in {**names, "test_2016_flickr": "test/multi30k-test_2016_flickr"}.items():
            for lang in ("en", "de"):
                target = folder / "data" / "multi30k" / f"{name}.{lang}.xz"
                shutil.copy(Path(corpora) / f"{source}.en-de.{lang}.xz", target)
    return folder


def run(command: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "WANDB_MODE": "offline"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_runs(command, folder):
    if "multi30k" in command and not (folder / "data" / "multi30k").is_dir():
        pytest.skip("set ROPE_MT_CORPORA to a folder with Multi30k to run this command")
    if command.startswith(("rope-mt train", "rope-mt prepare")):
        one_job = re.sub(r"=([^,\s\[]+),\S+", r"=\1", command.replace(" -m ", " "))
        assert "name:" in run(f"{one_job} --cfg job", folder)
    assert run(limited(command), folder)
