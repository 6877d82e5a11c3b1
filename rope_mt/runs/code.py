"""The code that computes a run, as a checksum of each file, so that a run of other code is noticed."""

import ast
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILES = ("runs/checkpoint.py",)  # which averages weights
ROOMS = ("position", "model", "data", "training", "training/callbacks", "translation")
# Files in these rooms that change no result. Text has checksums of its own, whoever fetched or wrote it.
NO_EFFECT = {
    *("data/archives.py", "data/checks.py", "data/corpus.py", "data/download.py", "data/loader.py"),
    *("data/own.py", "data/sgm.py"),
    *("training/checks.py", "training/processes.py", "training/screens.py", "training/train.py"),
    *("training/callbacks/interruption.py", "training/callbacks/report.py"),
    *("translation/attention_map.py", "translation/ctranslate2.py", "translation/evaluate.py"),
    *("translation/export.py", "translation/prompt.py", "translation/translate.py"),
}


@cache
def checksums() -> dict[str, str]:
    """The checksum of each file that computes, by its path below rope_mt."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).glob("*.py"))]
    names = [*FILES, *(path.relative_to(ROOT).as_posix() for path in paths)]
    return {name: checksum((ROOT / name).read_text(encoding="utf-8")) for name in names if name not in NO_EFFECT}


def checksum(source: str) -> str:
    """Eight hex digits over code without its comments, docstrings and layout, the same in every version of Python."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return hashlib.sha256(repr(_meaning(tree)).encode()).hexdigest()[:8]


def _meaning(part: Any) -> Any:
    """A part of a syntax tree as plain lists, without the empty fields that some versions of Python add."""
    if isinstance(part, ast.AST):
        fields = [[name, _meaning(value)] for name, value in ast.iter_fields(part) if value is not None and value != []]
        return [type(part).__name__, fields]
    return [_meaning(each) for each in part] if isinstance(part, list) else part


def name_of(files: Mapping[str, str]) -> str:
    """Eight hex digits that name this code."""
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:8]


def differing(some: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    """The files that are not the same in both."""
    return sorted(name for name in {*some, *others} if some.get(name) != others.get(name))


def listed(files: list[str]) -> str:
    """A few of these files by name, and how many more there are."""
    shown = ", ".join(f"rope_mt/{name}" for name in files[:3])
    return shown + (f" and {len(files) - 3} more" if len(files) > 3 else "")
