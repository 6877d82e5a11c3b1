"""Every command in the READMEs works, published runs print what stands there, and every link leads somewhere.

Composition checks the settings of every command. Of commands that differ in settings alone, the first also runs, with a
limit on its length and on small text in place of every corpus. Each subject of `bench` runs in tests/bench.
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
README = ROOT / "README.md"
OTHERS = [file for room in ("rope_mt", "conf", "data", "outputs", "tests") for file in (ROOT / room).rglob("README.md")]
TEXTS = {file: file.read_text(encoding="utf-8") for file in [README, *sorted(OTHERS)]}
PROSE = {file: re.sub(r"```.*?```", "", text, flags=re.DOTALL) for file, text in TEXTS.items()}
EXACT = "outputs/published/|--theta"  # in commands that print the same everywhere
PRINTED = re.compile(rf"```bash\n(rope-mt [^\n]*(?:{EXACT})[^\n]*)\n```\n\n```\n(.*?)```", re.DOTALL)
SHOWN = dict(pair for text in TEXTS.values() for pair in PRINTED.findall(text))
COMPOSED = ("train", "prepare", "eval", "translate", "bench")
LIMITS = {  # of the commands that take long, by how they begin
    "train": "trainer.max_steps=4 trainer.val_every=4 data.batch_tokens=600 search.max_len_a=0 search.max_len_b=3",
    "prepare": "data.vocab_size=1000",
    "bench train": "model=tiny bench.steps=2 data.batch_tokens=600 data.vocab_size=1000",
    "analyze lengths outputs/toy": "--joined 1,8",
    "analyze decay outputs/toy": "--sentences 10",
}


def commands() -> list[str]:
    """The distinct rope-mt commands of all bash blocks, in order; of a longer line, its last part."""
    blocks = "\n".join(block for text in TEXTS.values() for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    lines = [re.sub(r".*&& |timeout \d+ ", "", line).replace(".venv/bin/", "") for line in blocks.splitlines()]
    return [*dict.fromkeys(line for line in lines if "rope-mt " in line)]


def one_of_each_kind() -> list[str]:
    """The first command of all that have the same words without settings; words with a path count as such."""
    first: dict[str, str] = {}
    for command in commands():
        kind = " ".join(word for word in command.split() if "=" not in word or "/" in word)
        kind = re.sub("bench .*", "bench", kind)
        first.setdefault(kind, command)
    return [*first.values()]


def jobs(command: str) -> list[tuple[str, ...]]:
    """The words after rope-mt of each run that a command makes: one for each combination of the choices after -m."""
    words = shlex.split(command.partition("rope-mt ")[2])
    choices = []
    for word in words:
        name, equals, values = word.partition("=")
        several = "-m" in words and equals and "[" not in values
        choices.append([f"{name}={value}" for value in values.split(",")] if several else [word])
    return [*itertools.product(*(choice for choice in choices if choice != ["-m"]))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A reader's working folder, where every corpus is the same small text."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "outputs" / "published", folder / "outputs" / "published")
    text = toy.generate(n_train=2_000, n_valid=20, n_test=20)
    names = {"toy": "train valid test", "multi30k": "train val test_2016_flickr"}
    names["wmt14"] = "train newstest2013 newstest2014"
    for corpus, parts in names.items():
        (folder / "data" / corpus).mkdir(parents=True)
        for name, pairs in zip(parts.split(), (text.train, text.valid, text.test), strict=True):
            for lang, lines in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
                (folder / "data" / corpus / f"{name}.{lang}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "text").mkdir()
    for name, pairs in (("my", text.train), ("other", text.test)):
        (folder / "text" / f"{name}.tsv").write_text("".join(f"{en}\t{de}\n" for en, de in pairs), encoding="utf-8")
    return folder


@pytest.mark.parametrize("command", [command for command in commands() if jobs(command)[0][0] in COMPOSED])
def test_every_setting_of_a_command_exists(command, monkeypatch, here, capsys):
    monkeypatch.setenv("ROPE_MT_CORPORA", "corpora")  # which data=mixed reads
    for job in jobs(command):
        assert main([*job, "--cfg", "job"]) == 0
    assert ":" in capsys.readouterr().out


@pytest.mark.parametrize("command", one_of_each_kind())
def test_a_command_of_each_kind_runs(command, folder):
    words = command.partition("rope-mt ")[2]
    limits = [limit for beginning, limit in LIMITS.items() if words.startswith(beginning)]
    two_choices = re.sub(r"=([^,\s]+,[^,\s]+),\S+", r"=\1", command)  # which show as much as five
    path = f"{warm.command().parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "WANDB_MODE": "disabled", "COLUMNS": "100"}
    limited = ["bash", "-c", " ".join([two_choices, *limits])]
    done = subprocess.run(limited, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{limited}\n{done.stdout}\n{done.stderr}"
    printed = "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())
    assert printed
    if command in SHOWN:  # three dots stand for any lines
        assert re.fullmatch(re.escape(SHOWN[command]).replace(re.escape("...\n"), "(?s:.*)"), printed), printed


def test_results_stand_below_their_commands_and_in_the_main_readme():
    assert sorted(SHOWN) == sorted(command for command in commands() if re.search(EXACT, command))
    assert len(SHOWN) >= 5
    lines = SHOWN["rope-mt compare outputs/published/multi30k/*"].splitlines()
    rows = re.findall(r"^\| `([\w-]+)` \| (.* to [+-].*) \|$", TEXTS[README], re.MULTILINE)
    assert len(rows) == 5
    for scheme, cells in rows:
        printed = "\n".join(line for line in lines if line.startswith(scheme))
        assert [cell for cell in cells.split("|") if cell.strip() not in printed] == []


@pytest.mark.parametrize("group", ["model", "data", "search", "tracking", "experiment", "position"])
def test_the_tables_of_the_main_readme_name_all_choices(group):
    if group == "position":
        table = TEXTS[README].partition("| `position=` |")[2].partition("\n\n")[0]
        named = re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)
    else:
        [row] = re.findall(rf"^\| `{group}` \| (.*) \|$", TEXTS[README], re.MULTILINE)
        named = re.findall("`([^`]+)`", row)
    assert sorted(named) == sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.mark.parametrize("readme", TEXTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(readme):
    for link in re.findall(r"\]\((?!https?:)([^)]*)\)", PROSE[readme]):
        path, _, anchor = link.partition("#")
        target = (readme.parent / path).resolve() if path else readme
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", PROSE[target], re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, link


def test_the_main_readme_is_short_and_leads_to_all_others():
    assert len(TEXTS[README].encode()) <= 12 * 1024
    links = {README.parent / link for link in re.findall(r"\]\(([\w/-]*README\.md)\)", PROSE[README])}
    assert links == {*OTHERS}
