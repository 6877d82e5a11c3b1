"""Signals in training: the step is finished and saved, and the run continues from there as if nothing had happened."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rope_mt.cli.main import main
from rope_mt.config.commands import TrainConfig
from rope_mt.config.training import SearchConfig
from rope_mt.errors import Interrupted, UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.training.callbacks.checkpoints import Checkpoints
from rope_mt.training.callbacks.interruption import SIGNALS, Interruption, hand_on
from rope_mt.training.processes import Processes
from rope_mt.training.train import train

from ..small import rows
from .killed_run import check_same, in_step

STEPS, EVERY = 7, 3  # a validation each 3 steps; each step has two batches


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of a program that has set none. Each test must leave them as they are."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    plain: dict[int, Any] = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    for signum, handler in plain.items():
        signal.signal(signum, handler)
    yield
    left = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum, handler in before.items():
        signal.signal(signum, handler)
    assert left == plain


@contextmanager
def handled(signum: int, handler: Any = None) -> Iterator[list[int]]:
    """A handler such as a launcher sets; gives the signals that reach it."""
    received: list[int] = []
    before = signal.signal(signum, handler or (lambda signum, frame: received.append(signum)))
    yield received
    signal.signal(signum, before)


def signal_in(step: int, *signums: int) -> AbstractContextManager[None]:
    """Training gets these signals in the first batch of the step of this number, counted from 1."""
    return in_step(step - 1, lambda: [signal.raise_signal(signum) for signum in signums])


def settings(config, **trainer) -> TrainConfig:
    trainer = {"max_steps": STEPS, "val_every": EVERY, "accumulate": 2, "ema": 0.9, **trainer}
    cfg = config(precision="fp32", **trainer)
    cfg.search = SearchConfig(beam=1, length_penalty=0.6, max_len_a=0.2, max_len_b=2)  # an untrained model finds no end
    return cfg


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory) -> Path:
    """The folder of a run that is not disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    train(settings(config), folder)
    return folder


def saved(folder: Path, resumable: bool = False) -> list[int]:
    folders = checkpoint.saved(RunFolder(folder))
    return [checkpoint.step_of(f) for f in folders if not resumable or (f / checkpoint.TRAINING).is_file()]


def end_of_epoch(run: Path) -> int:
    return max(row["step"] for row in rows(RunFolder(run)) if row["epoch"] == 0)


@pytest.mark.parametrize(
    ("signum", "at", "kept"),
    [
        (signal.SIGTERM, 5, [3, 5]),
        (signal.SIGINT, 2, [2]),
        (signal.SIGUSR2, end_of_epoch, None),
        (signal.SIGHUP, 6, [3, 6]),  # which is validated first
        (signal.SIGTERM, STEPS, [6, STEPS]),
    ],
    ids=["in a later epoch", "before the first validation", "at the end of an epoch", "validated", "the last"],
)
def test_a_run_ended_by_a_signal_saves_its_step_and_goes_on_from_there(config, tmp_path, straight, signum, at, kept):
    step = at if isinstance(at, int) else at(straight)
    with signal_in(step, signum), pytest.raises(Interrupted) as left:
        train(settings(config), tmp_path)
    assert (left.value.signum, left.value.saved) == (signum, step)
    assert saved(tmp_path, resumable=True) == (kept or saved(tmp_path)[-2:])
    assert [n for n in saved(tmp_path) if n % EVERY == 0 or n == STEPS] == [n for n in (3, 6, STEPS) if n <= step]
    train(settings(config), tmp_path)
    check_same(tmp_path, straight)


def test_a_second_interrupt_does_not_wait_for_the_step(config, tmp_path, capfd):
    with signal_in(2, signal.SIGINT, signal.SIGINT), pytest.raises(Interrupted) as left:
        train(settings(config), tmp_path)
    assert (left.value.signum, left.value.saved) == (signal.SIGINT, None)
    assert saved(tmp_path) == []
    assert capfd.readouterr().err == "rope-mt: leaving after this step; Ctrl-C again leaves at once\n"


def test_a_signal_that_is_ignored_stays_ignored(config, tmp_path):
    with handled(signal.SIGTERM, signal.SIG_IGN), signal_in(2, signal.SIGTERM):
        train(settings(config, max_steps=2), tmp_path)
    assert saved(tmp_path) == [2]


def test_if_a_launcher_ignores_sigterm_the_step_is_saved_and_the_run_continues(config, tmp_path, straight, monkeypatch):
    steps, honest = [], Checkpoints.save

    def save(self, trainer):
        steps.append(trainer.global_step)
        honest(self, trainer)

    monkeypatch.setattr(Checkpoints, "save", save)
    with handled(signal.SIGTERM) as received, signal_in(5, signal.SIGTERM):
        train(settings(config), tmp_path)
    assert received == [signal.SIGTERM]
    assert steps == [3, 5, 6, STEPS]
    check_same(tmp_path, straight)


def test_a_launcher_has_its_signal_when_the_run_is_left(config, tmp_path):
    with handled(signal.SIGUSR2) as received:
        with signal_in(2, signal.SIGUSR2), pytest.raises(Interrupted) as left:
            train(settings(config), tmp_path)
        assert received == []
        hand_on(left.value)
        assert received == [signal.SIGUSR2]
    hand_on(left.value)  # to nobody
    hand_on(Interrupted(signal.SIGINT))


@pytest.mark.parametrize("signum", SIGNALS)
def test_one_of_several_processes_leaves_at_once(config, tmp_path, signum):
    module: Any = SimpleNamespace(cfg=config(), processes=Processes(1, 2, 2))
    interruption = Interruption(module, Checkpoints(RunFolder(tmp_path), module))
    with interruption.heeded(), pytest.raises(Interrupted) as left:
        signal.raise_signal(signum)
    assert left.value.signum == signum


@pytest.mark.parametrize(
    ("error", "raised"), [(RuntimeError("a worker is gone"), Interrupted), (UserError("no space left"), UserError)]
)
def test_an_error_that_a_signal_causes_is_not_told_but_one_that_the_user_must_mend_is(config, tmp_path, error, raised):
    def fail() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise error

    with in_step(0, fail), pytest.raises(raised):
        train(settings(config), tmp_path)


@pytest.mark.parametrize(("word", "command"), [("seed=1", ""), ("overwrite=True", " without overwrite=true")])
def test_a_signal_ends_a_sweep_with_one_line_and_its_exit_code(here, capfd, small_run, word, command):
    """With overwrite=true the same command would start the run again."""
    words = ["train", "-m", "position=rope,none", *small_run, "trainer.accumulate=2", word]
    with signal_in(2, signal.SIGTERM):
        assert main(words) == 128 + signal.SIGTERM
    err = capfd.readouterr().err
    line = f"rope-mt: interrupted; step 2 is saved, and the same command{command} goes on from there"
    assert err.splitlines()[-1] == line
    assert "Traceback" not in err
    [folder] = (here / "outputs").glob("files-*")
    assert saved(folder) == [2]
