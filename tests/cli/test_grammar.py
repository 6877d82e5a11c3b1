"""A path means itself, whatever Hydra's grammar makes of its signs; choices, lists and null keep their meaning."""

import os
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from rope_mt.cli.grammar import as_typed
from rope_mt.cli.plan import planned
from rope_mt.config.choices import command_schema

PATHS = ["Straße/ñ", "v1#2", "x (final)", "Q&A", '5" disk', "it's", "lr=3,beam=4", "{a}", "[2]", "true", "2024_01"]
PATHS += ["1e3", "a!b;c", " led", "end\\", "two\nlines", "a\udcffb", "~no-such-user/x", "plain/name.v2"]


def read(word: str, several: bool = False) -> object:
    override = OverridesParser.create().parse_override(as_typed(word, several))
    return [*override.sweep_iterator()] if override.is_sweep_override() else override.value()


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_read_as_it_was_typed_or_quoted(path, here):
    for setting in ("data.dir", "+translate.output", "hydra.run.dir"):
        assert read(f"{setting}={path}") == path
    if path[0] not in "[":  # which begins a list there
        assert read(f"data.train={path}") == path
    if '"' not in path and not path.endswith("\\"):
        assert read(f'checkpoint="{path}"') == path


@pytest.mark.parametrize("path", PATHS)
def test_a_dry_run_and_python_read_the_folder_of_a_run_as_hydra_does(path, here):
    word = as_typed(f"hydra.run.dir={path}", several=False)
    assert planned("train", {}, ["hydra.run.dir=x", word], command_schema("train")).folders == [Path(path)]


def test_home_stands_for_a_tilde_unless_a_folder_has_that_name(here, monkeypatch):
    monkeypatch.setenv("HOME", "/the/home")
    for word in ("data.dir=~/x", "data.dir='~/x'", 'hydra.sweep.dir="~/x"'):
        assert read(word) == "/the/home/x"
    assert read("data.test=['~/x',b]") == ["/the/home/x", "b"]
    os.mkdir("~")
    assert read("data.dir=~/x") == "~/x"


def test_what_is_no_path_keeps_its_meaning(here):
    assert read("translate.input=null") is None
    assert read("data.train=[a,b]") == ["a", "b"]
    assert read("data.test=[Straße/a, '[2] b'/c,d#1,'ü']") == ["Straße/a", "'[2] b'/c", "d#1", "ü"]
    (here / "v1,2.tsv").touch()
    assert read("data.test=[v1,2.tsv]") == ["v1,2.tsv"]
    assert read("data.mirror=") == ""
    for word in ("seed=1,2", "data.dir=${oc.env:HOME}/x", "data.name=1e3", "~tracking"):
        assert as_typed(word, several=False) == word
    assert read("data.train=a,b", several=True) == ["a", "b"]
    (here / "a,b.en").write_text("")
    assert read("data.train=a,b", several=True) == "a,b"
