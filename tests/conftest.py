"""Fixtures that several test files share; what takes long to make is made once a session."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Real English-German text, where there is some."""
    folder = os.environ.get("ROPE_MT_CORPORA")
    if not folder:
        pytest.skip("set ROPE_MT_CORPORA to a folder of real corpora to run this test")
    return Path(folder)
