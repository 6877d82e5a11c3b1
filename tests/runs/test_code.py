"""The checksums of code: what changes a result counts, and nothing else."""

import shutil

import pytest

from rope_mt.runs import code

SOURCE = '''"""Rotations."""

def rotate(x):
    """Rotate."""
    return x * 2  # twice
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("Rotations.", "Turns.", True),
        ("Rotate.", "Turn.", True),
        ("# twice", "# doubled", True),
        ("x * 2", "(x *\n 2)", True),
        ('    """Rotate."""\n', "", True),
        ("* 2", "* 3", False),
        ("rotate(", "turn(", False),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(old, new, same):
    assert (code.checksum(SOURCE.replace(old, new)) == code.checksum(SOURCE)) == same


def test_every_version_of_python_has_the_same_checksum():
    """The code uses what syntax trees and `ast.unparse` write otherwise from 3.11 to 3.13."""
    source = "def f(a, *, b: int = 1):\n    return f'{a!r} is {b:.2f}', (lambda: None)(), [i for i in a if not i]\n"
    assert code.checksum(source) == "07d4fbf9"


def test_the_files_that_compute_count_and_those_that_show_results_do_not(tmp_path, monkeypatch):
    root = shutil.copytree(code.ROOT, tmp_path / "rope_mt")
    monkeypatch.setattr(code, "ROOT", root)
    before = code.checksums.__wrapped__()
    for name in ("position/rotary.py", "study/compare/compare.py", "training/callbacks/report.py"):
        (root / name).write_text((root / name).read_text() + "\nCHANGED = True\n")
    (root / "position" / "another.py").write_text("SCHEME = 1\n")
    assert code.differing(before, code.checksums.__wrapped__()) == ["position/another.py", "position/rotary.py"]
    assert {name for name in code.NO_EFFECT if not (root / name).is_file()} == set()
