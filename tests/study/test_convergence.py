"""How many tokens a run needs to reach a baseline's last loss, by hand-made curves and by real runs."""

import json
import math
import shutil

import pytest

from rope_mt.cli.main import main
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.study.analyze.convergence import table
from rope_mt.study.finished_runs import Point, tokens_to

from .made_runs import csv_rows


@pytest.mark.parametrize(
    ("losses", "goal", "tokens"),
    [
        ([3.0, 2.0, 1.0], 1.75, 225),  # on the line between two validations
        ([3.0, 2.0, 1.0], 2.0, 200),
        ([3.0, 1.0, 2.0, 1.0], 1.5, 175),  # the first crossing, even if the loss rises again
        ([3.0, 2.0], 1.9, None),
        ([3.0, 2.0], 3.5, 100),  # the first validation
        ([math.inf, 3.0], 4.0, 200),
    ],
)
def test_a_loss_is_reached_at_the_first_crossing(losses, goal, tokens):
    assert tokens_to(goal, curve(losses)) == (tokens and pytest.approx(tokens))


def curve(losses: list[float], first: int = 100) -> list[Point]:
    return [Point(step, first + 100 * step, loss) for step, loss in enumerate(losses)]


def test_the_table_has_how_many_fewer_tokens_than_the_baseline_were_needed():
    """The baseline is at its last loss of 2 after 200 tokens already; the next runs after 150 and 250."""
    curves = [curve([3.0, 2.0, 1.5, 2.0]), curve([3.0, 1.0]), curve([3.0, 1.0], first=200), curve([4.0])]
    columns = {str(column.header): [*column.cells] for column in table(["a", "b", "c", "d"], curves, 0).columns}
    assert columns["run"] == ["a", "b", "c", "d"]
    assert columns["fewer tokens"] == ["baseline", "25.0 %", "-25.0 %", ""]
    assert columns["tokens to 2.0000"][3] == "not reached"
    assert columns["last valid loss"] == ["2.0000", "1.0000", "1.0000", "4.0000"]
    diverged = [curve([3.0, math.nan]), curve([2.0])]
    columns = {str(column.header): [*column.cells] for column in table(["a", "b"], diverged, 0).columns}
    assert columns["tokens to nan"] == ["not reached", "not reached"]
    assert columns["fewer tokens"] == ["baseline", ""]


def test_the_command_compares_with_sinusoidal_add_or_the_run_that_is_named(runs, tmp_path, capsys):
    out = str(tmp_path / "curves")
    names = [str(runs[name]) for name in ("rope", "sinusoidal-add", "rope again")]
    assert main(["analyze", "convergence", *names, "--out", out]) == 0
    printed = capsys.readouterr().out
    assert "baseline: sinusoidal-add, seed 1" in printed
    assert printed.count("rope, seed") == 2
    rows = csv_rows(tmp_path / "curves.csv")
    assert [int(row["step"]) for row in rows] == 3 * [1, 2, 3]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    metrics = [json.loads(line) for line in (runs["rope"] / "metrics.jsonl").read_text().splitlines()]
    assert [float(row["loss"]) for row in rows[:3]] == [row["valid/loss"] for row in metrics if "valid/loss" in row]

    assert main(["analyze", "convergence", names[1], "--baseline", names[0], "--out", out]) == 0
    assert "baseline: rope, seed 1" in capsys.readouterr().out


def test_mistakes_are_one_line(runs, tmp_path, capsys):
    metrics = {"damaged": '{"step": 4, "valid/', "bare": '{"step": 3, "tokens": 9}\n'}
    for name, text in metrics.items():
        run = RunFolder(shutil.copytree(runs["rope"], tmp_path / name))
        run.metrics.write_text(text)
        write_result(run, json.loads(run.result.read_text()))
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([str(tmp_path / "damaged")], "metrics.jsonl, line 1, is damaged: leave the run out"),
        ([str(tmp_path / "bare")], "there is no validation"),
        ([str(tmp_path / "empty")], "no finished run"),
        ([str(tmp_path / "nowhere")], "no such run"),
        ([str(runs["rope"]), "--baseline", str(tmp_path / "empty")], "cannot be the baseline"),
        ([], "the following arguments are required: RUN"),
    ):
        assert main(["analyze", "convergence", *words, "--out", str(tmp_path / "curves")]) == 2
        assert message in capsys.readouterr().err
