"""A small corpus; a local statmt.org; `rope-mt prepare` in this process."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rope_mt.cli.main import main
from rope_mt.config.data import DataConfig
from rope_mt.data import download

from .archive_site import (
    Sides,
    Site,
    archives,
    serve,
    texts,
)
from .small_text import ENGLISH, GERMAN, write
from .wmt14_site import Said, chosen


@pytest.fixture(scope="session")
def found() -> dict[str, Sides]:
    return texts()


@pytest.fixture(scope="session")
def statmt(found) -> dict[str, bytes]:
    return archives(found)


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
def prepare(tmp_path, monkeypatch, capsys) -> Iterator[Callable[..., Said]]:
    """`rope-mt prepare` in this process and in a folder of its own; a configuration becomes data=local."""
    from hydra.core.global_hydra import GlobalHydra

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(cfg: Any, *words: str) -> Said:
        capsys.readouterr()
        code = main(["prepare", *chosen(cfg, tmp_path / "conf"), *words])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    yield run
    GlobalHydra.instance().clear()


# ---- a small corpus


@pytest.fixture
def cfg(tmp_path) -> DataConfig:
    train = write(tmp_path / "text" / "train", ENGLISH, GERMAN)
    valid = write(tmp_path / "text" / "valid", ENGLISH[:3], GERMAN[:3])
    return DataConfig("files", train, valid, valid, vocab_size=310, dir=str(tmp_path / "data"))


@pytest.fixture
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
