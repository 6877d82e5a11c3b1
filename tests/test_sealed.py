"""JSON and YAML that anybody may have written, or changed, do no harm and are not believed."""

import pytest

from rope_mt.config.plain import from_plain
from rope_mt.errors import UserError
from rope_mt.system.sealed import read_sealed, read_yaml, write_sealed

NINE = zip("abcdefgh", "bcdefghi", strict=True)
BOMB = "a: &a [x, x]\n" + "\n".join(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in NINE)
STRANGE = [BOMB, "a: ${oc.env:HOME}", "[" * 100_000, "a: !!python/object/apply:os.getcwd []", "", "x", "\0", "a: 'b"]


@pytest.mark.parametrize("text", [*STRANGE, "- 1"])
def test_yaml_of_others_refers_to_nothing_and_makes_nothing(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises((ValueError, UserError)) as caught:
        from_plain(read_yaml(tmp_path / "config.yaml"))
    assert "\n" not in str(caught.value)


UNSEALED = ["", "{", "[" * 100_000, "[]", "7", '"\\ud800"', "9" * 5_000, '{"a": 1}', "\xff", '{"a": 1e999, "seal": 3}']


@pytest.mark.parametrize("text", UNSEALED)
def test_json_that_was_not_sealed_is_one_line(tmp_path, text):
    path = tmp_path / "some.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(UserError, match=r"some\.json is damaged, .*: make it anew") as caught:
        read_sealed(path, "make it anew")
    assert "\n" not in str(caught.value)


def test_what_is_sealed_is_read_as_it_was_written_with_all_that_json_takes(tmp_path):
    value = {"a": [1, 2.5, None, True, "ä\u2028"], "b": {"c": float("inf"), "1": -0.0}}
    for _ in range(2):
        write_sealed(tmp_path / "a.json", value)
        value = read_sealed(tmp_path / "a.json", "")
    assert value == {"a": [1, 2.5, None, True, "ä\u2028"], "b": {"c": float("inf"), "1": -0.0}}
    write_sealed(tmp_path / "a.json", {"a": float("nan")})
    assert str(read_sealed(tmp_path / "a.json", "")) == "{'a': nan}"
