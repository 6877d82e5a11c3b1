"""Ctrl-C while modules are imported ends the command, whatever the one that swallows it makes of it."""

import os
import signal
from contextlib import suppress

import pytest

from rope_mt.cli.imports import interruptible


@pytest.fixture(autouse=True)
def heeded():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@interruptible()
def swallow_it() -> None:
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@interruptible()
def fail_of_it() -> None:
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    raise AttributeError("half imported")


@pytest.mark.parametrize("imports", [swallow_it, fail_of_it])
def test_an_interrupt_ends_the_imports_whatever_they_make_of_it(imports):
    with pytest.raises(KeyboardInterrupt):
        imports()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_errors_and_interrupts_that_are_ignored_stay_what_they_are():
    with pytest.raises(ImportError), interruptible():
        raise ImportError
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible():
        os.kill(os.getpid(), signal.SIGINT)
