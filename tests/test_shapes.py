"""The shapes that functions name are checked wherever the tests call them."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_module_that_names_shapes_is_under_the_checker(pytestconfig):
    *packages, checker = pytestconfig.getoption("jaxtyping_packages").split(",")
    assert checker == "beartype.beartype"
    naming = [file for file in (ROOT / "rope_mt").rglob("*.py") if "jaxtyping" in file.read_text(encoding="utf-8")]
    assert len(naming) > 20
    for file in naming:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        assert any(f"{module}.".startswith(f"{package}.") for package in packages), module
