"""A small corpus; a local statmt.org."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rope_mt.config.data import DataConfig
from rope_mt.data import download

from .archive_site import Sides, Site, archives, serve, texts
from .small_text import ENGLISH, GERMAN, write


@pytest.fixture(scope="session")
def packed_text() -> dict[str, Sides]:
    return texts()


@pytest.fixture(scope="session")
def statmt(packed_text) -> dict[str, bytes]:
    return archives(packed_text)


@pytest.fixture
def site(tmp_path, monkeypatch, statmt) -> Iterator[Site]:
    """A server with all archives, and a client that loses no time between two tries."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with serve(tmp_path / "site") as site:
        for path, content in statmt.items():
            site.put(path, content)
        yield site


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where the text is made."""
    return tmp_path / "cwd" / "data"


@pytest.fixture
def cfg(tmp_path) -> DataConfig:
    """A small corpus."""
    train = write(tmp_path / "text" / "train", ENGLISH, GERMAN)
    valid = write(tmp_path / "text" / "valid", ENGLISH[:3], GERMAN[:3])
    return DataConfig("files", train, valid, valid, vocab_size=310, dir=str(tmp_path / "data"))


@pytest.fixture
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
