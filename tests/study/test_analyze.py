"""The front end of the analyses: which subjects there are, and their files."""

from pathlib import Path

import pytest

from rope_mt.cli.flags import SUBJECTS
from rope_mt.cli.main import main
from rope_mt.errors import UserError
from rope_mt.system.plots import figure, write_csv


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_has_help(subject, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["analyze", subject, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: rope-mt analyze {subject}" in printed
    assert "--out" in printed
    with pytest.raises(SystemExit):
        main(["analyze", "--help"])
    assert f"\n    {subject}" in capsys.readouterr().out


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
    written = {file for file in tmp_path.rglob("*") if file.is_file()}
    assert written == {tmp_path / f"{stem}.csv", tmp_path / f"{stem}.png"}
