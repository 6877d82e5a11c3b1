"""What is written down of a job tells how it ended and how far it is, whatever happened to it."""

import json

import pytest

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.sweep.ledger import DONE, FAILED, RUNNING, STOPPED, TAIL, WAITING, Entry, Ledger


class MachineGoneError(BaseException):
    pass


@pytest.mark.parametrize(
    ("end", "state", "error"),
    [
        (None, DONE, ""),
        (UserError("make it\nsmaller"), FAILED, "make it smaller"),
        (ZeroDivisionError("by 0"), FAILED, "ZeroDivisionError: by 0"),
        (SystemExit(3), FAILED, "SystemExit: 3"),
        (MachineGoneError(), STOPPED, ""),
        (KeyboardInterrupt(), STOPPED, ""),
    ],
)
def test_a_job_is_running_until_it_ends_and_then_what_it_ended_as(tmp_path, end, state, error):
    ledger = Ledger(tmp_path)
    ledger.start(["seed=1", "seed=2"])

    result = {"steps": 7, "valid": {"loss": 2.5}, "test": {"bleu": 20.5}, "further_tests": {}}
    write_result(RunFolder(tmp_path), result)

    def run() -> None:
        with ledger.job(1, "seed=2") as job:
            job.update(run=str(tmp_path))
            assert [entry.state for entry in ledger.entries()] == [WAITING, RUNNING]
            if end is not None:
                raise end

    if end is None:
        run()
    else:
        with pytest.raises(type(end)):
            run()
    found = ledger.entries()
    assert [(entry.name, entry.state, entry.error) for entry in found] == [
        ("seed=1", WAITING, ""), ("seed=2", state, error)
    ]  # fmt: skip
    assert found[1].began <= found[1].ended
    assert (found[1].steps, found[1].loss, found[1].bleu) == ((7, 2.5, 20.5) if state == DONE else (0, 0.0, 0.0))


def test_starting_again_forgets_what_was(tmp_path):
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
    assert (entry.progress(), entry.result(), Entry(0, "b").progress()) == ({}, {}, {})
    rows = [{"step": step, "train/loss": 9 - step / 100, "train/lr": 0.25} for step in range(3_000)]
    rows[2_000] = {"step": 2_000, "valid/bleu": 3.5}
    rows[2_980] = {"step": 2_980, "valid/bleu": 7.5}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    assert len(text) > 2 * TAIL
    run.metrics.write_text(text + '{"step": 3000, "tr')
    assert entry.progress() == {"step": 2_999, "train/loss": 9 - 29.99, "valid/bleu": 7.5}
    run.metrics.write_text(text[:70])
    assert entry.progress() == {"step": 0, "train/loss": 9.0}


def test_a_job_that_its_launcher_takes_back_has_not_failed(tmp_path):
    """submitit requeues a job in the handler of a signal, and exits."""
    ledger = Ledger(tmp_path)
    with pytest.raises(SystemExit), ledger.job(0, "a", requeued=True):
        raise SystemExit(-1)
    assert [entry.state for entry in ledger.entries()] == [STOPPED]


def test_a_full_disk_does_not_change_how_a_job_ends(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)

    def fill_and_interrupt():
        def full(entry):
            raise UserError("cannot write")

        monkeypatch.setattr(ledger, "write", full)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ledger.job(0, "a"):
        fill_and_interrupt()
