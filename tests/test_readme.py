"""Every command of the README runs as it stands there, but for a limit on its length.

What a command on published runs prints is what stands below it.
"""

import itertools
import lzma
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from rope_mt.cli.main import main
from rope_mt.data import toy

from . import warm

ROOT = Path(__file__).parents[1]
LIMITS = "trainer.max_steps=20 trainer.val_every=20 trainer.val_sentences=20 data.batch_tokens=600 "
LIMITS += "search.beam=1 search.max_len_a=0 search.max_len_b=3"
SMALLER = {  # for what is meant for more time or a GPU
    "model=small": "model=tiny",
    "experiment=multi30k": "model=tiny",
    "wmt14": "model=tiny data.vocab_size=4000",
    "roformer": "model=tiny data.vocab_size=4000",
    "long-text": "model=tiny data.vocab_size=4000 data.context_tokens=64",
}
REAL = ("multi30k", "mixed", "bench data", *SMALLER)  # commands on text that cannot be fetched here


def commands() -> list[str]:
    """The rope-mt commands of the README's bash blocks, in order; of a line that installs first, its last part."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.sub(r".*&& ", "", line).replace(".venv/bin/", "") for line in lines if line]
    return [command for command in found if not command.startswith("pytest")]


def shown() -> dict[str, list[str]]:
    """The lines that stand in the README below a command on published runs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"```bash\n(rope-mt [^\n]*outputs/published/[^\n]*)\n```\n\n```\n(.*?)```", readme, re.DOTALL)
    return {command: block.splitlines() for command, block in found}


def limited(command: str) -> str:
    """The command with a limit appended where it trains or measures."""
    if command.startswith("rope-mt analyze lengths") and "published" not in command:
        return f"{command} --joined 1,8"
    if command.startswith("rope-mt bench schemes"):
        return f"{command} model=tiny bench.steps=2 bench.schemes=[rope,t5]"
    if command.startswith("rope-mt bench decode"):
        return f"{command} model=tiny bench.sentences=4 bench.rounds=1"
    if command.startswith("rope-mt bench train"):
        return f"{command} model=tiny bench.steps=2 data.batch_tokens=1024"
    if command.startswith("rope-mt bench"):
        return f"{command} bench.pairs=4000 data.vocab_size=4000"
    if not command.startswith("rope-mt train"):
        return command
    if command == "rope-mt train experiment=schemes":
        command = f"{command} position=rope,none seed=1"
    if command == "rope-mt train experiment=linear":
        command = f"{command} position=rope,none"
    command = re.sub(r"=([^,\s\[']+,[^,\s\[']+),\S+", r"=\1", command)  # two choices tell as much as five
    if not any(name in command for name in (*REAL, "data.test")):
        command += " data.valid=short data.test=short"
    return " ".join([command, LIMITS, *(smaller for name, smaller in SMALLER.items() if name in command)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the reader sits: the corpora that the README says to put there are there, if they can be had."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "outputs" / "published", folder / "outputs" / "published")
    corpora = os.environ.get("ROPE_MT_CORPORA")
    if corpora:
        (folder / "data" / "multi30k").mkdir(parents=True)
        (folder / "data" / "wmt14").mkdir()
        for name, source, lines in (
            ("multi30k/train", "train/multi30k-train", 29_000),
            ("multi30k/val", "test/multi30k-val", 40),
            ("multi30k/test_2016_flickr", "test/multi30k-test_2016_flickr", 40),
            ("multi30k/test_2017_flickr", "test/multi30k-test_2017_flickr", 40),
            ("wmt14/train", "train/europarl-v7-head20k", 20_000),
            ("wmt14/newstest2013", "test/newstest2013", 20),
            ("wmt14/newstest2014", "test/newstest2014", 20),
        ):
            for lang in ("en", "de"):
                with lzma.open(Path(corpora) / f"{source}.en-de.{lang}.xz") as file:
                    text = b"".join(itertools.islice(file, lines))
                (folder / "data" / f"{name}.{lang}").write_bytes(text)
    for side, lang in enumerate(("en", "de")):
        short = "".join(pair[side] + "\n" for pair in toy.generate(n_train=1, n_valid=1, n_test=40).test)
        (folder / f"short.{lang}").write_text(short, encoding="utf-8")
    return folder


def run(command: str, folder: Path) -> str:
    path = f"{warm.command().parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "WANDB_MODE": "offline", "COLUMNS": "100"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_runs(command, folder, monkeypatch, capsys):
    real = any(name in command for name in REAL) and "outputs/published/" not in command
    if real and not (folder / "data" / "multi30k").is_dir():
        pytest.skip("set ROPE_MT_CORPORA to a folder of real corpora to run this command")
    if command.startswith(("rope-mt train", "rope-mt prepare")):
        one_job = re.sub(r"=([^,\s\[]+),\S+", r"=\1", command.replace(" -m ", " "))
        monkeypatch.chdir(folder)
        assert main([*shlex.split(one_job)[1:], "--cfg", "job"]) == 0
        assert "name:" in capsys.readouterr().out
    said = run(limited(command), folder)
    assert said
    if command in shown():
        assert [line.rstrip() for line in said.splitlines()] == shown()[command]


def test_figures_of_published_runs_are_among_these():
    printed = {command for command in commands() if "outputs/published/" in command and "--plot" not in command}
    assert {*shown()} == {command for command in printed if command.startswith(("rope-mt compare", "rope-mt analyze"))}
    assert len(shown()) >= 4


@pytest.mark.parametrize("group", ["model", "data", "search", "tracking", "experiment"])
def test_the_table_of_settings_names_all_choices(group):
    [row] = re.findall(rf"^\| `{group}` \| (.*) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    there = {file.stem for file in (ROOT / "conf" / group).glob("*.yaml")}
    assert {*re.findall("`([^`]+)`", row)} == there


def test_links_within_the_readme_lead_to_headings_and_to_every_section():
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    anchors = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-"): level
        for level, heading in re.findall(r"^(##+) (.*)$", text, re.MULTILINE)
    }
    links = {*re.findall(r"\]\(#([^)]*)\)", text)}
    assert links <= {*anchors}
    assert {anchor for anchor, level in anchors.items() if level == "##"} <= links
