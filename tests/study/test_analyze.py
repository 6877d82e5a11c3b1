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
HEAVY = {"torch", "lightning", "matplotlib", "numpy", "omegaconf"}
STUDY_RECORDS = """
import contextlib, sys
from pathlib import Path
from rope_mt.cli.main import main
folder, *runs = sys.argv[1:]
with contextlib.suppress(SystemExit):
    main(["analyze", "--help"])
loaded = [{*sys.modules}]
for words in (["compare"], ["analyze", "convergence"], ["analyze", "lengths", "--joined", "1"]):
    assert main([*words, *runs, *(["--out", f"{folder}/a"] if len(words) > 1 else [])]) == 0
    loaded.append({*sys.modules})
print(*({name for name in names if "." not in name} for names in loaded), sep="\\n", file=sys.stderr)
"""


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_has_help(subject, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["analyze", subject, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: rope-mt analyze {subject}" in printed
    assert "--out" in printed


def test_help_imports_nothing_heavy_and_records_are_studied_without_torch(tmp_path):
    runs = sorted(ROOT.glob("outputs/published/multi30k-short/*-s1-*"))[:2]
    words = [sys.executable, "-c", STUDY_RECORDS, str(tmp_path), *map(str, runs)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, text=True, capture_output=True, env=env, timeout=100, check=True)
    assert all(f"\n    {subject}" in done.stdout for subject in SUBJECTS)
    of_help, *of_commands = done.stderr.splitlines()[-4:]
    assert not HEAVY & {*eval(of_help)}
    for modules in of_commands:
        assert not {"torch", "lightning"} & {*eval(modules)}


def test_a_wrong_line_is_answered_with_one_line(capsys):
    for line, answer in (
        ("analyze", "the following arguments are required: SUBJECT"),
        ("analyze deca", "invalid choice: 'deca'"),
        ("analyze --out x decay", "invalid choice: 'x'"),
        ("analyze decay lengths", "no such checkpoint: lengths"),
        ("analyze decay --theta x", "--theta: invalid float value: 'x'"),
        ("analyze convergence --nope 3 RUN", "unrecognized arguments: --nope"),
    ):
        assert main(line.split()) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("rope-mt: ")
        assert printed.err.count("\n") == 1
        assert answer in printed.err


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
