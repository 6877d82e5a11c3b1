"""`prepare` and `download` on a disk that fills up: refused before they begin, or gone on with when there is room."""

import hashlib
import os

import pytest

from rope_mt.data.download import download
from rope_mt.errors import UserError
from rope_mt.system import disk as space

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")
FULL = os.strerror(28)


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
