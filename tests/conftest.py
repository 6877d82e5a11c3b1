"""Fixtures that several test files share; what takes long to make is made once a session."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

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


SLOWEST_FIRST = ("test_readme", "test_train", "test_cli", "test_run", "test_damaged_files", "test_processes")
SLOWEST_FIRST += (
    "test_killed",
    "test_long_run",
    "test_resuming",
    "test_interruption",
    "test_toy",
    "test_laws",
    "test_archives",
)


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
def disk(request, tmp_path, monkeypatch) -> Iterator[MountedDisk | PlayedDisk]:
    """A small disk: `mounted` or `played` if a test asks for one of them, else mounted where that is allowed."""
    wanted = getattr(request, "param", None)
    with mounted(tmp_path / "disk") if wanted != "played" else nullcontext() as disk:
        if disk is None and wanted == "mounted":
            pytest.skip("mounting is not allowed here")
        (tmp_path / "disk").mkdir(exist_ok=True)
        yield disk or PlayedDisk(tmp_path / "disk", monkeypatch)
