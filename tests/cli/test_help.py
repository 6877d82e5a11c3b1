"""What the commands say of themselves, and how little they import to say it."""

import re
import sys

import pytest

from rope_mt.cli.commands import COMMANDS
from rope_mt.cli.messages import settings
from rope_mt.config.choices import command_schema, options
from rope_mt.config.data import ArchiveConfig, ParquetConfig
from rope_mt.config.meanings import meanings
from rope_mt.config.position import POSITION_CONFIGS

from .conftest import ROOT, shell


def test_help_shows_each_command_with_an_example_and_each_scheme_with_a_line(rope_mt):
    output = rope_mt("--help")
    assert (output.code, output.err) == (0, "")
    assert output == rope_mt() == rope_mt("-h")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w.*\n +rope-mt {command} ", output.out, re.MULTILINE), command
    for name in POSITION_CONFIGS:
        assert re.search(rf"^  {name} +\w", output.out, re.MULTILINE), f"comment in {name}.yaml"
    assert [*options("position")] == sorted(POSITION_CONFIGS)


def test_help_imports_a_few_modules_of_python_alone():
    """What makes help quick: a count, as a time would be that of the machine and of what runs beside the test."""

    def imported(*words: str) -> set[str]:
        listed = shell("-X", "importtime", *words)
        assert listed.returncode == 0
        return {line.rpartition("|")[2].strip() for line in listed.stderr.splitlines()}

    modules = imported("-m", "rope_mt", "--help") - imported("-c", "pass")  # an environment may add to Python's start
    assert "rope_mt.cli.main" in modules
    assert {name.partition(".")[0] for name in modules} <= {"rope_mt", *sys.stdlib_module_names}
    assert len(modules) < 130  # about 100; torch alone is more than a thousand
    assert not {"torch", "lightning", "numpy"} & imported("-m", "rope_mt", "train", "--help")
    of_analyze = imported("-m", "rope_mt", "analyze", "--help")
    assert not {"torch", "lightning", "matplotlib", "numpy", "omegaconf"} & of_analyze


def test_a_command_imports_what_it_needs(tmp_path):
    """Finished runs are read without torch, and training begins without wandb and all of torchmetrics."""
    program = """
import sys
from rope_mt.cli.main import main
out, *runs = sys.argv[1:]
assert main(["compare", *runs]) == 0
assert main(["analyze", "convergence", *runs, "--out", out]) == 0
assert main(["analyze", "lengths", *runs, "--joined", "1", "--out", out]) == 0
assert not {"torch", "lightning", "hydra"} & {*sys.modules}
assert main(["train", "data=files", "data.train=nowhere.tsv"]) == 2
assert not {"torch", "lightning"} & {*sys.modules}
import rope_mt.training.train
assert not {"wandb", "torchmetrics", "scipy.signal", "transformers"} & {*sys.modules}
from torchmetrics import Metric  # the real one, for whoever wants it
assert Metric.update
"""
    runs = sorted(map(str, (ROOT / "outputs/published/multi30k").glob("*-s1-*")))
    done = shell("-c", program, str(tmp_path / "out"), *runs)
    assert done.returncode == 0, done.stderr


def test_version(rope_mt, capsys):
    from rope_mt import __version__

    assert rope_mt("--version").out == f"rope-mt {__version__}\n"
    with pytest.raises(SystemExit):  # argparse's own way
        rope_mt("train", "--version")
    assert capsys.readouterr().out == f"rope-mt {__version__}\n"


def test_help_of_a_command_shows_no_groups_of_another(rope_mt):
    assert "schema" not in rope_mt("train", "--help").out
    groups = rope_mt("eval", "--help").out.partition("general\n")[0]
    assert re.search("  search: +beam, greedy\n", groups)
    assert "model:" not in groups
    assert "bench:" not in groups
    for subject, wanted in (("data", False), ("schemes", True)):
        groups = rope_mt("bench", subject, "--help").out.partition("data: A parallel corpus")[0]
        assert "  data:  " in groups
        assert ("  model:  " in groups) == wanted


@pytest.mark.parametrize("words", ["train", "eval", "translate", "prepare", *(f"bench {x}" for x in options("bench"))])
def test_help_gives_every_setting_a_value_and_a_meaning_in_80_columns(rope_mt, words):
    output = rope_mt(*words.split(), "--help")
    assert (output.code, output.err) == (0, "")
    assert max(map(len, output.out.splitlines())) <= 80
    entries = re.findall(r"^  ([\w.]+)=\S*\s+(\S.*)", output.out, re.MULTILINE)
    groups = {"model", "data", "data.recipe", "position", "positions", "optimizer", "trainer", "search", "tracking"}
    of_command = {*settings(command_schema(words.replace(" ", "/")))} - {*groups, "sweep", "bench", "translate"}
    assert {name for name, _ in entries} <= of_command
    other_schemes = {name for name in of_command if name.startswith("position.")}
    assert of_command - {name for name, _ in entries} <= other_schemes
    for schema in (*POSITION_CONFIGS.values(), ArchiveConfig, ParquetConfig):
        assert all(meanings(schema).values()), schema


def test_help_follows_the_words_beside_it(rope_mt, tmp_path):
    (tmp_path / "position").mkdir()
    (tmp_path / "position/mine.yaml").write_text("# of the test\n")
    output = rope_mt("train", "--help", "position=relative", "data=multi30k", "seed=7", f"--config-dir={tmp_path}").out
    for shown in ("seed=7", "position.name=relative", "position.clip=16", "trainer.max_steps=6000"):
        assert f"  {shown}  " in output
    assert "learned, mine, none" in output


def test_help_of_bench_names_each_subject_with_a_line(rope_mt):
    output = rope_mt("bench", "--help").out
    for file in (ROOT / "conf/bench").iterdir():
        assert re.search(rf"^  {file.stem} +\w\w", output, re.MULTILINE), f"comment in {file}"
