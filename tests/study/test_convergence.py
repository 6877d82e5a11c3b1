"""How many tokens a run needs to reach a baseline's last loss, by hand-made curves and by real runs."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest

from rope_mt.cli.main import main
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.study.analyze.convergence import table
from rope_mt.study.curve import Curve
from rope_mt.study.finished_runs import FinishedRun


def curve(tokens: list[int], losses: list[float], position: str = "rope", seed: int = 1) -> Curve:
    run = FinishedRun(Path("run"), {"position": position, "seed": seed}, {})
    return Curve(run, list(range(len(tokens))), tokens, losses)


def test_a_loss_is_reached_on_the_line_between_two_validations():
    assert curve([100, 200, 300], [3.0, 2.0, 1.0]).reached(1.75) == pytest.approx(225)
    assert curve([100, 200, 300], [3.0, 2.0, 1.0]).reached(2.0) == pytest.approx(200)


def test_the_first_crossing_counts_even_if_the_loss_rises_again():
    assert curve([100, 200, 300, 400], [3.0, 1.0, 2.0, 1.0]).reached(1.5) == pytest.approx(175)


def test_what_is_never_reached_is_none_and_what_is_reached_at_once_is_the_first_validation():
    assert curve([100, 200], [3.0, 2.0]).reached(1.9) is None
    assert curve([100, 200], [3.0, 2.0]).reached(3.5) == 100
    assert curve([100, 200], [math.inf, 3.0]).reached(4.0) == 200


def test_the_table_says_how_many_fewer_tokens_than_the_baseline_needed():
    """The baseline is at its last loss of 2 after 200 tokens already; rope after 150, another seed after 250."""
    baseline = curve([100, 200, 300, 400], [3.0, 2.0, 1.5, 2.0], "sinusoidal-add")
    runs = [baseline, curve([100, 200], [3.0, 1.0]), curve([200, 300], [3.0, 1.0], seed=2), curve([100], [4.0], "none")]
    columns = {str(column.header): [*column.cells] for column in table(runs, baseline).columns}
    assert columns["run"] == ["sinusoidal-add, seed 1", "rope, seed 1", "rope, seed 2", "none, seed 1"]
    assert columns["fewer tokens"] == ["baseline", "25.0 %", "-25.0 %", ""]
    assert columns["tokens to 2.0000"][3] == "not reached"
    assert columns["last valid loss"] == ["2.0000", "1.0000", "1.0000", "4.0000"]


def test_a_baseline_whose_loss_is_no_number_is_never_reached():
    diverged = curve([100, 200], [3.0, float("nan")], "sinusoidal-add")
    columns = {
        str(column.header): [*column.cells] for column in table([diverged, curve([100], [2.0])], diverged).columns
    }
    assert columns["tokens to nan"] == ["not reached", "not reached"]
    assert columns["fewer tokens"] == ["baseline", ""]


def test_the_command_compares_with_sinusoidal_add_or_the_run_that_is_named(runs, tmp_path, capsys):
    out = str(tmp_path / "curves")
    names = [str(runs[name]) for name in ("rope", "sinusoidal-add", "rope again")]
    assert main(["analyze", "convergence", *names, "--out", out]) == 0
    said = capsys.readouterr().out
    assert "baseline: sinusoidal-add, seed 1" in said
    assert said.count("rope, seed") == 2
    with open(tmp_path / "curves.csv", encoding="utf-8", newline="") as file:
        numbers = list(csv.DictReader(file))
    assert [int(row["step"]) for row in numbers] == 3 * [3, 6, 9]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    losses = [json.loads(line) for line in (runs["rope"] / "metrics.jsonl").read_text().splitlines()]
    assert [float(row["loss"]) for row in numbers[:3]] == [row["valid/loss"] for row in losses if "valid/loss" in row]

    assert main(["analyze", "convergence", names[1], "--baseline", names[0], "--out", out]) == 0
    assert "baseline: rope, seed 1" in capsys.readouterr().out


def test_mistakes_are_one_line(runs, tmp_path, capsys):
    damaged, bare = tmp_path / "damaged", tmp_path / "bare"
    shutil.copytree(runs["rope"], damaged)
    with open(damaged / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "valid/')
    shutil.copytree(runs["rope"], bare)
    (bare / "metrics.jsonl").write_text('{"step": 3, "tokens": 9}\n')
    for folder in (damaged, bare):
        write_result(RunFolder(folder), json.loads((folder / "result.json").read_text()))
    (tmp_path / "empty").mkdir()
    for words, said in (
        ([str(damaged)], "is damaged: leave the run out"),
        ([str(bare)], "there is no validation"),
        ([str(tmp_path / "empty")], "no finished run"),
        ([str(tmp_path / "nowhere")], "no such run"),
        ([str(runs["rope"]), "--baseline", str(tmp_path / "empty")], "cannot be the baseline"),
        ([], "the following arguments are required: RUN"),
    ):
        assert main(["analyze", "convergence", *words, "--out", str(tmp_path / "curves")]) == 2
        assert said in capsys.readouterr().err
