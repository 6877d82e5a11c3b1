"""Every command in the READMEs works, published runs print what stands there, and every link leads somewhere.

Composition checks the settings of every command. Of commands that differ in settings alone, the first also runs, with a
limit on its length and on small text in place of every corpus.
"""

import itertools
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
FOLDERS = ("rope_mt", "conf", "data", "outputs", "tests")
READMES = [ROOT / "README.md", *(file for name in FOLDERS for file in sorted((ROOT / name).rglob("README.md")))]
COMPOSED = ("train", "prepare", "eval", "translate", "bench")
TEXT = ("toy/train", "toy/valid", "toy/test", "multi30k/train", "multi30k/val", "multi30k/test_2016_flickr")
TEXT += ("wmt14/train", "wmt14/newstest2013", "wmt14/newstest2014")
LIMITS = {  # of the commands that take long, by how they begin
    "train": "trainer.max_steps=20 trainer.val_every=20 data.batch_tokens=600 "
    "search.beam=1 search.max_len_a=0 search.max_len_b=3",
    "prepare": "data.vocab_size=1000",
    "bench data": "bench.pairs=1000 data.vocab_size=1000",
    "bench decode": "model=tiny bench.sentences=4 bench.rounds=1 data.vocab_size=1000",
    "bench schemes": "model=tiny bench.steps=2 bench.schemes=[rope,t5]",
    "bench train": "model=tiny bench.steps=2 data.batch_tokens=600 data.vocab_size=1000",
    "analyze lengths outputs/toy": "--joined 1,8",
    "analyze decay outputs/toy": "--sentences 10",
}


def prose(readme: Path) -> str:
    """A README without its blocks of code."""
    return re.sub(r"```.*?```", "", readme.read_text(encoding="utf-8"), flags=re.DOTALL)


def commands() -> list[str]:
    """The distinct rope-mt commands of all bash blocks, in order; of a line that installs first, its last part."""
    blocks = (re.findall(r"```bash\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL) for file in READMES)
    lines = [line for block in itertools.chain(*blocks) for line in block.replace("\\\n", " ").splitlines()]
    lines = [re.sub(r".*&& ", "", line).replace(".venv/bin/", "") for line in lines]
    return [*dict.fromkeys(line for line in lines if "rope-mt " in line)]


def kind(command: str) -> str:
    """What composition does not check: the command, its flags, and words with a path."""
    return " ".join(word for word in command.split() if "=" not in word or "/" in word)


def one_of_each_kind() -> list[str]:
    first: dict[str, str] = {}
    for command in commands():
        first.setdefault(kind(command), command)
    return [*first.values()]


def shown() -> dict[str, str]:
    """What the READMEs show below a command on published runs; a line of three dots stands for any lines."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in READMES)
    pattern = r"```bash\n(rope-mt [^\n]*outputs/published/[^\n]*)\n```\n\n```\n(.*?)```"
    return dict(re.findall(pattern, text, re.DOTALL))


def jobs(command: str) -> list[list[str]]:
    """The words after rope-mt of each run that a command makes: one for each combination of the choices after -m."""
    words = shlex.split(command[command.index("rope-mt ") :])[1:]
    if "-m" not in words:
        return [words]
    words.remove("-m")
    choices = [[f"{name}{equals}{value}" for value in values.split(",")] if "[" not in values else [word]
               for word in words for name, equals, values in [word.partition("=")]]  # fmt: skip
    return [[*job] for job in itertools.product(*choices)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A reader's working folder, where every corpus is the same small text."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "outputs" / "published", folder / "outputs" / "published")
    pairs = toy.generate(n_train=2_000, n_valid=20, n_test=20)
    for name in TEXT:
        part = pairs.train if name.endswith("train") else pairs.valid if "val" in name else pairs.test
        for side, lang in enumerate(("en", "de")):
            file = folder / "data" / f"{name}.{lang}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(pair[side] + "\n" for pair in part), encoding="utf-8")
    return folder


@pytest.mark.parametrize("command", [command for command in commands() if jobs(command)[0][0] in COMPOSED])
def test_every_setting_of_a_command_exists(command, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROPE_MT_CORPORA", "corpora")  # which data=mixed reads
    for job in jobs(command):
        assert main([*job, "--cfg", "job"]) == 0
    assert ":" in capsys.readouterr().out


@pytest.mark.parametrize("command", one_of_each_kind())
def test_a_command_of_each_kind_runs(command, folder):
    start = command[command.index("rope-mt ") + len("rope-mt ") :]
    limits = [limit for beginning, limit in LIMITS.items() if start.startswith(beginning)]
    limited = " ".join([re.sub(r"=([^,\s]+,[^,\s]+),\S+", r"=\1", command), *limits])  # two choices say as much as five
    env = {**os.environ, "PATH": f"{warm.command().parent}{os.pathsep}{os.environ['PATH']}"}
    env |= {"WANDB_MODE": "disabled", "COLUMNS": "100"}
    done = subprocess.run(["bash", "-c", limited], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{limited}\n{done.stdout}\n{done.stderr}"
    printed = "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())
    assert printed
    if command in shown():
        pattern = re.escape(shown()[command]).replace(re.escape("...\n"), "(?s:.*)")
        assert re.fullmatch(pattern, printed), printed


def test_results_stand_below_their_commands_and_in_the_main_readme():
    of_records = {command for command in commands() if "outputs/published/" in command}
    assert {*shown()} == {command for command in of_records if "rope-mt train" not in command}
    assert len(shown()) >= 4
    lines = shown()["rope-mt compare outputs/published/multi30k/*"].splitlines()
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\d.* ± .*) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) == 6
    for scheme, cells in rows:
        printed = "\n".join(line for line in lines if line.startswith(scheme))
        assert [cell for cell in cells.split("|") if cell.strip() not in printed] == []


@pytest.mark.parametrize("group", ["model", "data", "search", "tracking", "experiment", "position"])
def test_the_tables_of_the_main_readme_name_all_choices(group):
    text = prose(ROOT / "README.md")
    if group == "position":
        _, _, table = text.partition("| `position=` |")
        named = re.findall(r"^\| `([\w-]+)` \|", table[: table.index("\n\n")], re.MULTILINE)
    else:
        [row] = re.findall(rf"^\| `{group}` \| (.*) \|$", text, re.MULTILINE)
        named = re.findall("`([^`]+)`", row)
    assert sorted(named) == sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.mark.parametrize("readme", READMES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(readme):
    for link in re.findall(r"\]\((?!https?:)([^)]*)\)", prose(readme)):
        path, _, anchor = link.partition("#")
        target = (readme.parent / path).resolve() if path else readme
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", prose(target), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, link


def test_the_main_readme_is_short_and_leads_to_all_others():
    assert READMES[0].stat().st_size <= 12 * 1024
    links = re.findall(r"\]\(([\w/-]*README\.md)\)", prose(READMES[0]))
    assert {*links} == {str(file.relative_to(ROOT)) for file in READMES[1:]}
