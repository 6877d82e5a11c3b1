"""The overview shows the state of each job, prints each change once, and estimates the time that is left."""

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rope_mt.sweep.ledger import DONE, FAILED, LEFT_OUT, RUNNING, Entry, Ledger
from rope_mt.sweep.overview import Overview


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    """A job that is done, one found done, one that runs, one that failed, and two that wait."""
    ledger = Ledger(tmp_path)
    ledger.start([f"seed={seed}" for seed in range(5)] + ["data.train=[a,b]"])
    for number, loss in ((0, 1.625), (2, None)):
        (tmp_path / f"run{number}").mkdir()
        rows = [{"step": 150, "valid/loss": loss, "valid/bleu": 3.25}, {"step": 200, "train/loss": 5.125}]
        (tmp_path / f"run{number}" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    now = time.time()
    states = [(DONE, False), (DONE, True), (RUNNING, False), (FAILED, False)]
    for number, (state, found) in enumerate(states):
        run = str(tmp_path / f"run{number}")
        entry = Entry(number, f"seed={number}", state, run, 1000, now - 300, 0.0, "here", found=found)
        result = {"bleu": 27.5} if state == DONE else {}
        error = "no space" if state == FAILED else ""
        ledger.write(replace(entry, ended=0.0 if state == RUNNING else now - 100, error=error, **result))
    return ledger


def drawn(overview: Overview, rows: int | None = None) -> list[str]:
    console = Console(width=100, file=io.StringIO())
    console.print(overview.table(rows))
    return console.file.getvalue().splitlines()


def test_each_job_has_a_row(ledger):
    lines = [" ".join(line.split()) for line in drawn(Overview(ledger))]
    assert lines[:2] == ["train valid valid test", "job state step loss loss BLEU BLEU time left"]
    rows, summary = lines[2:-1], lines[-1]
    assert rows[:2] == ["seed=0 done 200 5.125 1.625 3.25 27.50 0:03:20", "seed=1 done 27.50"]
    assert rows[2] == "seed=2 running 200 5.125 3.25 0:05:00"
    assert rows[3] == "seed=3 failed 0:03:20"
    assert rows[4:] == ["seed=4 waiting", "data.train=[a,b] waiting"]
    assert summary == "1 running, 2 done, 1 failed, 2 waiting, which take about 0:06:40"


def test_the_time_that_is_left_follows_from_the_steps_since_the_first_look(ledger, monkeypatch):
    overview = Overview(ledger)
    overview.table()
    metrics = Path(ledger.entries()[2].run or "") / "metrics.jsonl"
    metrics.write_text(json.dumps({"step": 600, "train/loss": 3.0}) + "\n")
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + 100)  # 400 steps in 100 seconds, and 400 to go
    [row] = [line for line in drawn(overview) if "running" in line and "600" in line]
    assert row.split()[-1] in ("0:01:39", "0:01:40", "0:01:41")


def test_in_a_small_terminal_running_and_failed_jobs_come_first(ledger):
    text = " ".join(drawn(Overview(ledger), rows=3))
    assert [f"seed={number} " in text for number in range(6)] == [False, False, True, True, True, False]


def test_each_change_is_printed_once_and_a_waiting_job_is_no_change(ledger, capsys):
    overview = Overview(ledger)
    overview.tell()
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "job 1 of 6, seed=0: done, BLEU 27.50, in 0:03:20",
        "job 2 of 6, seed=1: found done, BLEU 27.50",
        "job 3 of 6, seed=2: running",
    ]
    assert err == "rope-mt: seed=3: no space\n"
    ledger.write(Entry(4, "seed=4", LEFT_OUT))
    overview.tell()
    assert capsys.readouterr() == ("job 5 of 6, seed=4: left out\n", "")
    overview.tell()
    assert capsys.readouterr() == ("", "")
