"""The example of rope_mt/position/README.md is one of the schemes in this folder's tests."""

import pytest

from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.position import SCHEMES

from . import readme_example


@pytest.fixture(autouse=True)
def _example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POSITION_CONFIGS, readme_example.NAME, readme_example.CONFIG)
    monkeypatch.setitem(SCHEMES, readme_example.NAME, readme_example.SCHEME)
