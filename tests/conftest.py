"""Fixtures that several test files share; what takes long to make is made once a session."""

import logging
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .system.small_disk import MountedDisk, PlayedDisk, mounted

# Models are tiny here and gain nothing from a second thread, which spins beside other processes and slows them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection(session: pytest.Session) -> None:
    """Import what is large before anything of rope_mt does, in whose modules the hook that checks types is at work.

    Whatever is first imported from there is compiled from its source.
    """
    if not session.config.pluginmanager.has_plugin("dsession"):  # which hands tests out and runs none
        for name in ("lightning", "matplotlib.pyplot", "scipy.stats"):
            import_module(name)


SLOWEST_FIRST = ("test_readme", "test_train", "test_run", "test_damaged_files", "test_processes")
SLOWEST_FIRST += ("test_killed", "test_long_run", "test_resuming", "test_interruption", "test_toy", "test_laws")
SLOWEST_FIRST += ("test_archives", "test_compiling", "test_lengths")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left with one when the other has ended."""
    rank = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Real English-German text, where there is some."""
    folder = os.environ.get("ROPE_MT_CORPORA")
    if not folder:
        pytest.skip("set ROPE_MT_CORPORA to a folder of real corpora to run this test")
    return Path(folder)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder, in which the test works."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def disk(request, tmp_path, monkeypatch) -> Iterator[MountedDisk | PlayedDisk]:
    """A small disk: `mounted` or `played` if a test asks for one of them, else mounted where that is allowed."""
    wanted = getattr(request, "param", None)
    with mounted(tmp_path / "disk") if wanted != "played" else nullcontext() as disk:
        if disk is None and wanted == "mounted":
            pytest.skip("mounting is not allowed here")
        (tmp_path / "disk").mkdir(exist_ok=True)
        yield disk or PlayedDisk(tmp_path / "disk", monkeypatch)


class Output(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def rope_mt(tmp_path, monkeypatch, capsys) -> Iterator[Callable[..., Output]]:
    """Run a command line in this process, in an empty folder."""
    from hydra.core.global_hydra import GlobalHydra

    from rope_mt.cli.main import main

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(sys, "argv", ["rope-mt", "of", "the", "tests"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(*words: str) -> Output:
        capsys.readouterr()
        return Output(main([*words]), *capsys.readouterr())

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield run
    root.handlers[:], root.level = handlers, level  # --info writes through logging
    assert sys.argv == ["rope-mt", "of", "the", "tests"]
    assert "HYDRA_FULL_ERROR" not in os.environ
    GlobalHydra.instance().clear()


@pytest.fixture
def stand_in(monkeypatch) -> Callable[..., None]:
    """Replace what a command would call by functions of the test, so that nothing is trained."""

    def replace(module: str, **functions: Any) -> None:
        fake = types.ModuleType(module)
        vars(fake).update(functions)
        monkeypatch.setitem(sys.modules, module, fake)

    return replace
