"""JSON files that notice when they were changed, and YAML files that can only hold plain values."""

import pytest

from rope_mt.config.files import read_yaml
from rope_mt.config.plain import from_plain
from rope_mt.errors import UserError
from rope_mt.system.manifest import read_manifest, write_manifest

NINE = zip("abcdefgh", "bcdefghi", strict=True)
BOMB = "a: &a [x, x]\n" + "\n".join(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in NINE)
STRANGE = [BOMB, "a: ${oc.env:HOME}", "[" * 2_000, "a: !!python/object/apply:os.getcwd []", "", "x", "\0", "a: 'b"]


@pytest.mark.parametrize("text", [*STRANGE, "- 1"])
def test_yaml_of_others_refers_to_nothing_and_runs_nothing(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        from_plain(read_yaml(tmp_path / "config.yaml"))
    assert "\n" not in str(caught.value)


DAMAGED = ["", "{", "[" * 100_000, "[]", "7", '"\\ud800"', "9" * 5_000, '{"a": 1}', "\xff", '{"checksum": 3}']


@pytest.mark.parametrize("text", DAMAGED)
def test_json_without_its_checksum_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "some.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(UserError, match=r"some\.json is damaged, .*: make it anew") as caught:
        read_manifest(path, "make it anew")
    assert "\n" not in str(caught.value)


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    value = {"a": [1, 2.5, None, True, "ä\u2028"], "b": {"c": 1e300, "1": -0.0}}
    write_manifest(tmp_path / "a.json", value)
    assert read_manifest(tmp_path / "a.json", "") == value


def test_a_changed_file_beside_the_manifest_is_noticed(tmp_path):
    file, path = tmp_path / "weights", tmp_path / "a.json"
    file.write_bytes(b"one")
    write_manifest(path, {"a": 1}, [file])
    assert read_manifest(path, "", "weights", "unknown")["a"] == 1
    file.write_bytes(b"two")
    read_manifest(path, "")
    with pytest.raises(UserError, match=r"weights was changed since a\.json was written: make it anew"):
        read_manifest(path, "make it anew", "weights")
    file.unlink()
    read_manifest(path, "", "weights")
