"""Rooms import in one direction: the README's list of rooms is the order, and each room imports only from below it."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rope_mt"
ROOMS = re.findall(r"^\| \[(\w+)(?:\.py)?\]", (PACKAGE / "README.md").read_text(), re.MULTILINE)


def imports(file: Path) -> set[str]:
    """Names of the rooms that `file` imports from, also inside its functions and for its types."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            modules += [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            modules += [name.name for name in node.names]
    return {module.split(".")[1] for module in modules if module.startswith("rope_mt.")}


def test_the_readme_lists_every_room() -> None:
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert set(ROOMS) == rooms | {"errors"}


def test_a_room_imports_only_from_rooms_below_it() -> None:
    upward = {
        f"{file.relative_to(PACKAGE)} imports {room}"
        for position, name in enumerate(ROOMS)
        for file in (PACKAGE / name).rglob("*.py")
        for room in imports(file) & set(ROOMS[:position])
    }
    assert not upward
