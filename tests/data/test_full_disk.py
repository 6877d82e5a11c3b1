"""`prepare` and `download` on a disk that fills up: refused before they begin, or gone on with when there is room."""

import dataclasses
import hashlib
import os
import random
import re
from pathlib import Path

import pytest

from rope_mt.data import prepare as preparing
from rope_mt.data import text, toy
from rope_mt.data.download import download
from rope_mt.data.prepare import prepare
from rope_mt.errors import UserError
from rope_mt.system import disk as space

from .small_text import contents, write

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")
FULL = os.strerror(28)


@pytest.mark.parametrize("disk", ["played"], indirect=True)
def test_prepare_goes_on_from_every_full_disk_to_the_same_files(cfg, disk, monkeypatch):
    reference = contents(prepare(dataclasses.replace(cfg, dir=f"{cfg.dir}-whole")).folder)
    monkeypatch.setattr(preparing, "CHUNK", 50)
    monkeypatch.setattr(space, "ensure", lambda *args: "others fill the disk later")
    cfg.dir = str(disk.path / "data")
    named, found, dice = set(), None, random.Random(1)
    while not found:
        disk.leave(dice.randrange(8_000))
        try:
            found = prepare(cfg)
        except UserError as error:
            told = re.fullmatch(
                rf"cannot write {cfg.dir}/\.files-\w+\.unfinished/(\S+): {FULL}; it needs \S+ \w+, .*", str(error)
            )
            assert told
            named.add(told[1])
            assert {path.name[0] for path in Path(cfg.dir).iterdir()} == {"."}
    assert {"sentencepiece.model", "src.ids", "tgt.ids", "progress.json"} <= named, named
    assert contents(found.folder) == reference


def test_what_prepare_says_it_needs_is_a_little_more_than_it_makes(cfg, tmp_path, monkeypatch):
    corpus = toy.generate(n_train=600, n_valid=1, n_test=1)
    prefix = write(tmp_path / "text" / "toy", *map(list, zip(*corpus.train, strict=True)), suffix=".xz")
    packed = dataclasses.replace(cfg, name="toy", train=[prefix], vocab_size=800)
    asked, honest = [], space.ensure
    monkeypatch.setattr(space, "ensure", lambda *args: asked.append(args[2]) or honest(*args))
    for settings in (cfg, packed):
        made = space.used(prepare(settings).folder)
        assert made <= asked[-1] < 1.3 * made
    for path in (Path(f"{prefix}.{lang}.xz") for lang in ("en", "de")):
        assert text.size(path) == sum(len(line) + 1 for line in text.lines(path))


def test_prepare_is_refused_where_there_is_no_room_and_leaves_nothing(cfg, disk):
    cfg.dir = str(disk.path / "data")
    disk.leave(5_000)
    with pytest.raises(UserError, match=r"^preparing data=files takes up to \S+ kB of disk in .* data\.dir=FOLDER$"):
        prepare(cfg)
    assert not Path(cfg.dir).exists()
    disk.make_room()
    prepare(cfg)


@pytest.mark.parametrize("check", [True, False])
def test_a_file_that_does_not_fit_is_not_fetched_and_one_that_is_cut_by_a_full_disk_is_gone_on_with(
    site, disk, monkeypatch, check
):
    content = bytes(range(256)) * 2_000
    site.put("file", content)
    target, known = disk.path / "file", "md5:" + hashlib.md5(content).hexdigest() if check else ""
    disk.leave(300_000)
    with pytest.raises(UserError, match=r"^file takes 512 kB of disk, and \d+ kB are free in .*: make room, or choose"):
        download(f"{site.address}/file", target, check=known)
    monkeypatch.setattr(space, "free", lambda folder: 1 << 40)
    monkeypatch.setattr("rope_mt.data.download.BLOCK", 1 << 16)
    with pytest.raises(UserError, match=rf"^cannot write {target}.part: {FULL}; it needs \d+ kB, "):
        download(f"{site.address}/file", target, check=known)
    assert [path.name for path in disk.path.iterdir() if path.name != ".fill"] == ["file.part"] * check
    disk.make_room()
    download(f"{site.address}/file", target, check=known)
    assert target.read_bytes() == content
    assert bool(site.spans("file")[-1]) == check
