"""A prepared folder is trained on as it was written, or refused in one line; what is half done is verified."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rope_mt.data import prepare as preparing
from rope_mt.data.prepare import prepare
from rope_mt.data.prepared import MAPS
from rope_mt.errors import UserError
from rope_mt.system.manifest import sha256, write_manifest

from .small_text import contents

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")


@pytest.mark.parametrize("name", [*MAPS, "meta.json"])
def test_a_flipped_bit_is_noticed_when_the_file_is_opened(cfg, name):
    prepared = prepare(cfg)
    path = prepared.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{name} is damaged.*remove {prepared.folder}"):
        prepare(cfg).map(name)


@pytest.mark.parametrize(
    ("name", "first", "what"),
    [
        ("src.ids", 310, "an id above the last"),
        ("tgt.ids", 0, "padding"),
        ("tgt.ids", 3, "an end within a sentence"),
        ("src.lengths", 60_000, "more tokens than there are"),
        ("begins", 2, "neither yes nor no"),
    ],
)
def test_maps_that_cannot_be_trained_on_are_refused_with_check_sums_that_are_right(cfg, name, first, what):
    prepared = prepare(cfg)
    path = prepared.folder / name
    values = np.fromfile(path, np.uint8 if name == "begins" else np.uint16)
    values[0] = first
    values.tofile(path)
    prepared.meta["sha256"][name] = sha256(path)
    write_manifest(prepared.folder / "meta.json", prepared.meta)
    with pytest.raises(UserError, match=rf"{name} is damaged"):
        prepare(cfg).map(name)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("kept", -1),
        ("kept", 0),
        ("kept", 10**30),
        ("read", 1.5),
        ("tokens", {"src": 5}),
        ("dropped", []),
        ("vocab_size", 65_000),
        ("dtypes", {}),
        ("tokenizer_sha256", None),
        ("sha256", None),
        ("train", "other text"),
    ],
)
def test_a_meta_of_other_values_is_refused_with_a_seal_that_is_right(cfg, setting, value):
    prepared = prepare(cfg)
    write_manifest(prepared.folder / "meta.json", {**prepared.meta, setting: value})
    with pytest.raises(UserError, match=rf"meta\.json is not that of a prepared folder: remove {prepared.folder}"):
        prepare(cfg)


@pytest.mark.parametrize("damaged", [*MAPS, "progress.json", "sentencepiece.model", "sentencepiece.sha256"])
def test_work_half_done_is_gone_on_with_only_where_it_is_as_it_was_left(cfg, monkeypatch, damaged):
    undisturbed = contents(prepare(cfg).folder)
    shutil.rmtree(prepare(cfg).folder)
    honest = preparing.write_manifest
    monkeypatch.setattr(preparing, "CHUNK", 80)

    def stop(path, value):
        honest(path, value)
        if value.get("lines") == 160:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(cfg)
    [folder] = [path for path in Path(cfg.dir).iterdir() if path.name.endswith(".unfinished")]
    assert json.loads((folder / "progress.json").read_text())["lines"] == 160
    data = bytearray((folder / damaged).read_bytes())
    data[len(data) // 3] ^= 1
    (folder / damaged).write_bytes(data)
    assert contents(prepare(cfg).folder) == undisturbed
