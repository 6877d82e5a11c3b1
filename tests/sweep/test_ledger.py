"""The entry of a job tells how it ended and how far it is, whatever happened to it."""

import json
from contextlib import nullcontext

import pytest

from rope_mt.errors import UserError
from rope_mt.runs.folder import TAIL, RunFolder
from rope_mt.runs.result import write_result
from rope_mt.sweep.ledger import DONE, FAILED, RUNNING, SCORING, STOPPED, WAITING, Entry, Ledger


@pytest.mark.parametrize(
    ("end", "state", "error"),
    [
        (None, DONE, ""),
        (UserError("make it\nsmaller"), FAILED, "make it smaller"),
        (ZeroDivisionError("by 0"), FAILED, "ZeroDivisionError: by 0"),
        (SystemExit(3), FAILED, "SystemExit: 3"),
        (KeyboardInterrupt(), STOPPED, ""),
    ],
)
def test_a_job_is_running_until_it_ends_and_then_says_how(tmp_path, end, state, error):
    ledger = Ledger(tmp_path)
    ledger.start(["seed=1", "seed=2"])
    result = {"steps": 7, "valid": {"loss": 2.5}, "test": {"bleu": 20.5}, "further_tests": {}}
    write_result(RunFolder(tmp_path), result)
    with pytest.raises(type(end)) if end else nullcontext(), ledger.job(1, "seed=2") as update:
        update(run=str(tmp_path))
        assert [entry.state for entry in ledger.entries()] == [WAITING, RUNNING]
        if end:
            raise end
    first, entry = ledger.entries()
    assert (first.name, first.state, first.error) == ("seed=1", WAITING, "")
    assert (entry.name, entry.state, entry.error) == ("seed=2", state, error)
    assert entry.began <= entry.ended
    assert entry.bleu == (20.5 if state == DONE else 0.0)


def test_a_running_job_is_scoring_from_the_average_of_its_weights_to_its_result(tmp_path):
    run, ledger = RunFolder(tmp_path / "run"), Ledger(tmp_path)
    ledger.write(Entry(0, "a", RUNNING, str(run.path)))
    ledger.write(Entry(1, "a", FAILED, str(run.path)))
    seen = [[entry.state for entry in ledger.entries()]]
    run.average.mkdir(parents=True)
    seen.append([entry.state for entry in ledger.entries()])
    run.result.touch()
    seen.append([entry.state for entry in ledger.entries()])
    assert seen == [[RUNNING, FAILED], [SCORING, FAILED], [RUNNING, FAILED]]


def test_starting_again_forgets_an_earlier_attempt(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write(Entry(3, "drawn by a sweeper, of which job 4 began first"))
    ledger.start(["a", "b", "c"])
    assert [entry.name for entry in ledger.entries()] == ["a", "b", "c"]
    with pytest.raises(KeyboardInterrupt), ledger.job(0, "a"):
        raise KeyboardInterrupt
    ledger.start(["d", "e"])
    assert [(entry.name, entry.state) for entry in ledger.entries()] == [("d", WAITING), ("e", WAITING)]


def test_progress_is_what_was_logged_last_also_from_a_file_that_is_being_written(tmp_path):
    run = RunFolder(tmp_path)
    entry = Entry(0, "a", RUNNING, str(run.path))
    assert (entry.progress(), Entry(0, "b").progress()) == ({}, {})
    rows = [{"step": step, "train/loss": 9 - step / 100, "train/lr": 0.25} for step in range(3_000)]
    rows[2_000] = {"step": 2_000, "valid/loss": 3.0, "valid/bleu": 3.5}
    rows[2_980] = {"step": 2_980, "valid/loss": 2.0, "valid/bleu": 7.5}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    assert len(rows) > 2 * TAIL
    run.metrics.write_text(text + '{"step": 3000, "tr')
    assert entry.progress() == {"step": 2_999, "train/loss": 9 - 29.99, "valid/loss": 2.0, "valid/bleu": 7.5}
    run.metrics.write_text(text[:70])
    assert entry.progress() == {"step": 0, "train/loss": 9.0}


def test_a_job_that_its_launcher_takes_back_has_not_failed(tmp_path):
    ledger = Ledger(tmp_path)
    with pytest.raises(SystemExit), ledger.job(0, "a", requeued=True):
        raise SystemExit(-1)  # by submitit, in the handler of a signal
    assert [entry.state for entry in ledger.entries()] == [STOPPED]


def test_a_full_disk_does_not_change_how_a_job_ends(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)

    def fill_and_interrupt() -> None:
        def write(entry: Entry) -> None:
            raise UserError("cannot write")

        monkeypatch.setattr(ledger, "write", write)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ledger.job(0, "a"):
        fill_and_interrupt()
