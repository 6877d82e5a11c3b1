"""The front end of the analyses: which subjects there are, what is imported for them, what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rope_mt.cli.flags import SUBJECTS
from rope_mt.cli.main import main
from rope_mt.errors import UserError
from rope_mt.system.plots import figure, write_csv

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_has_help(subject, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["analyze", subject, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: rope-mt analyze {subject}" in said
    assert "--out" in said


def test_the_list_of_subjects_needs_nothing_heavy():
    words = [sys.executable, "-X", "importtime", "-m", "rope_mt", "analyze", "--help"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, text=True, capture_output=True, env=env, timeout=60)
    assert done.returncode == 0
    assert all(f"\n    {subject}" in done.stdout for subject in SUBJECTS)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"torch", "lightning", "matplotlib", "numpy", "omegaconf"}


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("analyze", "the following arguments are required: SUBJECT"),
        ("analyze deca", "invalid choice: 'deca'"),
        ("analyze --out x decay", "invalid choice: 'x'"),
        ("analyze decay lengths", "no such checkpoint: lengths"),
        ("analyze decay --theta x", "--theta: invalid float value: 'x'"),
        ("analyze convergence --nope 3 RUN", "unrecognized arguments: --nope"),
    ],
)
def test_a_wrong_line_is_answered_with_one_line(line, answer, capsys):
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("rope-mt: ")
    assert said.err.count("\n") == 1
    assert answer in said.err


@pytest.mark.parametrize(
    ("line", "words"), [("analyze ", [*SUBJECTS]), ("analyze decay ", []), ("analyze decay --", [])]
)
def test_tab_completes_subjects_and_leaves_runs_to_the_shell(line, words, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", f"rope-mt {line}")
    assert main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out.split() == words


def test_a_figure_is_there_whole_or_not_at_all(tmp_path):
    def draw(path: Path, fails: bool) -> None:
        with figure(path) as drawn:
            drawn.subplots().plot([1, 2], [3, 4])
            if fails:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw(tmp_path / "a.png", fails=True)
    assert not [*tmp_path.iterdir()]
    draw(tmp_path / "new" / "a.png", fails=False)
    draw(tmp_path / "new" / "b.png", fails=False)
    first, second = ((tmp_path / "new" / name).read_bytes() for name in ("a.png", "b.png"))
    assert first.startswith(b"\x89PNG")
    assert first == second  # nothing of a figure stays behind for the next


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*a\.csv"):
        write_csv(tmp_path / "file" / "a.csv", ("x",), [[1]])
    with pytest.raises(UserError, match=r"cannot write .*a\.png"), figure(tmp_path / "file" / "a.png"):
        pass


@pytest.mark.parametrize(("out", "stem"), [("fall.png", "fall"), ("fall.csv", "fall"), ("new/v1.2", "new/v1.2")])
def test_whoever_names_one_of_the_files_means_both(out, stem, tmp_path):
    assert main(["analyze", "decay", "--longest", "20", "--out", str(tmp_path / out)]) == 0
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == {
        tmp_path / f"{stem}{ending}" for ending in (".csv", ".png")
    }
