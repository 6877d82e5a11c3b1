"""What the tests of the archives share: the command line on a local site, and what it may leave behind."""

import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import OmegaConf

from .archive_site import (
    COMMON_CRAWL,
    DEV,
    EUROPARL,
    NEWS_COMMENTARY,
    TEST,
    TRAIN,
    Sides,
    plain,
)

TEXTS = [f"{name}.{lang}" for name in ("newstest2013", "newstest2014", "train") for lang in ("de", "en")]
ARCHIVES = sorted([COMMON_CRAWL, DEV, EUROPARL, NEWS_COMMENTARY, TEST])
NAMES = sorted(PurePosixPath(path).name for path in ARCHIVES)


@dataclass
class Said:
    code: int
    out: str
    err: str


def chosen(cfg: Any, conf: Path) -> list[str]:
    """Lay a data configuration where --config-dir finds it, and give the words that choose it."""
    (conf / "data").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, conf / "data" / "local.yaml")
    return [f"--config-dir={conf}", "data=local"]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "rope_mt", *words]


def refused(said: Said, *words: str) -> str:
    """The one line that a command ends with when there is something for the user to mend."""
    line = said.err.splitlines()[-1]
    assert said.code == 2, said.err
    assert line.startswith("rope-mt: ")
    assert said.err.count("rope-mt: ") == 1
    assert "Traceback" not in said.err
    for word in words:
        assert word in line, line
    return line


def left(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def no_text(folder: Path) -> bool:
    """Whether nothing is there that a later command would take for text or for a prepared corpus."""
    return all(PurePosixPath(name).parent == PurePosixPath("wmt14/archives") for name in left(folder))


def expected(found: dict[str, Sides], lang: str, *names: str) -> bytes:
    return b"".join(plain(found[name][lang]) for name in names)


def assert_text(folder: Path, found: dict[str, Sides]) -> None:
    """The text made is the text that was packed."""
    for lang in ("en", "de"):
        assert (folder / f"wmt14/train.{lang}").read_bytes() == expected(found, lang, *TRAIN)
        for name in ("newstest2013", "newstest2014"):
            assert (folder / f"wmt14/{name}.{lang}").read_bytes() == expected(found, lang, name)
