"""What TensorBoard and a table of numbers read of a run: the rows of its metrics file, each once."""

import csv
import json
import sys
from pathlib import Path

import pytest

from rope_mt.cli.main import main
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.training.train import train

from .killed_run import killed_at


def read_csv(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    with open(run.path / "csv" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in rows[0]}


def read_tensorboard(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


TELLS = {"csv": "CSV: {0}/csv/metrics.csv", "tensorboard": "look with `tensorboard --logdir {1}`"}


@pytest.mark.parametrize(("kind", "read"), [("csv", read_csv), ("tensorboard", read_tensorboard)])
def test_a_killed_run_has_each_step_once_and_its_scores_at_the_last(kind, read, config, here, capsys):
    run, cfg = RunFolder(Path("outputs", "run")), config(max_steps=4, val_every=2, val_sentences=1, log_every=1)
    cfg.tracking.name = kind
    with killed_at(3):
        train(cfg, run.path)
    train(cfg, run.path)
    assert TELLS[kind].format(run.path, run.path.parent) in capsys.readouterr().out.replace("\n", "")
    found = read(run)
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for name in {name for row in rows for name in row} - {"step"}:
        of_name = [(row["step"], row[name]) for row in rows if name in row]
        assert found[name] == [(step, pytest.approx(value)) for step, value in of_name]
    result = read_result(run)
    assert found["test/bleu"] == [(4, pytest.approx(result["test"]["bleu"]))]
    cfg.overwrite, cfg.tracking.name = True, "none"
    train(cfg, run.path)
    assert not (run.path / kind).exists()


def test_a_missing_tensorboard_is_told_before_anything_begins(small_run, here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    words = [word for word in small_run if not word.startswith("tracking")]
    assert main(["train", "-m", *words, "tracking=tensorboard", "seed=1,2"]) == 2
    assert capsys.readouterr().err == "rope-mt: TensorBoard is not installed: pip install 'rope-mt[tensorboard]'\n"
    assert not any(here.iterdir())
