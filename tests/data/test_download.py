"""A download from a server that fails in every way: the file is complete and verified, or is not there."""

import hashlib
import os
import random
import re
from pathlib import Path

import pytest

from rope_mt.data import download as module
from rope_mt.data.download import download
from rope_mt.errors import UserError
from rope_mt.system import disk as disk_space

from .archive_site import Mood, Site, serve

CONTENT = random.Random(0).randbytes(200_001)
OTHER = random.Random(1).randbytes(200_001)
SIZE, HALF = len(CONTENT), len(CONTENT) // 2
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
CUT = Mood(cut=True)


@pytest.fixture
def site(site):
    site.put("file.tgz", CONTENT)
    return site


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "here" / "file.tgz"


def fetch(site: Site, target: Path, size: int | None = None, check: str = SHA256) -> None:
    download(f"{site.address}/file.tgz", target, size, check)


def refused(*words: str, site: Site, target: Path, size: int | None = None, check: str = SHA256) -> str:
    """Why there is no file."""
    with pytest.raises(UserError) as error:
        fetch(site, target, size, check)
    said = " ".join(str(error.value).split())  # as the command line prints it
    for word in (f"{site.address}/file.tgz", *words):
        assert word in said
    assert not target.exists()
    return said


def files_beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir(exist_ok=True)
    target.with_name("file.tgz.part").write_bytes(content)


# ---- what goes well --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [SHA256, MD5, ""])
@pytest.mark.parametrize("size", [SIZE, None])
def test_a_file_is_fetched_in_one_piece_and_only_once(site, target, size, check):
    for _ in range(2):
        fetch(site, target, size, check)
        assert target.read_bytes() == CONTENT
        assert files_beside(target) == ["file.tgz"]
        assert site.spans("file.tgz") == [""]


def test_an_empty_file_is_a_file(site, target):
    site.put("file.tgz", b"")
    fetch(site, target, None, f"sha256:{hashlib.sha256(b'').hexdigest()}")
    assert target.read_bytes() == b""


# ---- connections that end early --------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [SHA256, ""])
@pytest.mark.parametrize("size", [SIZE, None])
def test_after_a_cut_the_next_try_asks_only_for_the_rest(site, target, size, check, capsys):
    site.once["file.tgz"] = [CUT]
    fetch(site, target, size, check)
    assert target.read_bytes() == CONTENT
    assert site.spans("file.tgz") == ["", f"bytes={HALF}-"]
    assert site.sent("file.tgz") == SIZE
    assert f"no answer, or not all of it ({HALF:,} of {SIZE:,} bytes came); trying again" in capsys.readouterr().err


def test_a_cut_shows_by_the_size_alone_where_the_server_announces_none(site, target):
    site.once["file.tgz"] = [Mood(cut=True, length=False)]
    fetch(site, target, SIZE)
    assert target.read_bytes() == CONTENT
    assert site.spans("file.tgz") == ["", f"bytes={HALF}-"]


def test_the_next_command_resumes_after_the_bytes_that_came(site, target):
    site.always["file.tgz"] = CUT
    refused("cannot fetch all of", f"{HALF:,} of {SIZE:,} bytes", "the same command goes on", site=site, target=target)
    assert files_beside(target) == ["file.tgz.part"]
    assert target.with_name("file.tgz.part").read_bytes() == CONTENT[:HALF]
    del site.always["file.tgz"], site.log[:]
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    assert files_beside(target) == ["file.tgz"]
    assert site.spans("file.tgz") == [f"bytes={HALF}-"]


def test_tries_are_counted_anew_whenever_something_came(site, target):
    down = Mood(status=503)
    site.once["file.tgz"] = [down, down, CUT, down, down]
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    assert len(site.log) == 6


def test_without_a_check_sum_no_part_of_an_earlier_command_is_trusted(site, target):
    site.always["file.tgz"] = CUT
    said = refused("cannot fetch", site=site, target=target, check="")
    assert "goes on" not in said
    leave_part(target.parent / "again" / "file.tgz", OTHER[:HALF])
    del site.always["file.tgz"], site.log[:]
    for path in (target, target.parent / "again" / "file.tgz"):
        fetch(site, path, check="")
        assert path.read_bytes() == CONTENT
    assert site.spans("file.tgz") == ["", ""]


@pytest.mark.parametrize("mood", [Mood(ranges=False), Mood(restart=True)], ids=["ignores", "answers another"])
def test_a_server_that_ignores_ranges_gives_the_file_once_not_one_and_a_half_times(site, target, mood):
    leave_part(target, CONTENT[:HALF])
    site.always["file.tgz"] = mood
    fetch(site, target, SIZE)
    assert site.spans("file.tgz") == [f"bytes={HALF}-"]
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_is_tried_from_the_start_and_not_for_ever(site, target):
    site.once["file.tgz"] = [Mood(ranges=False, cut=True)]
    site.always["file.tgz"] = Mood(ranges=False)
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    target.unlink()
    del site.log[:]
    site.always["file.tgz"] = Mood(ranges=False, cut=True)
    refused("cannot fetch all of", site=site, target=target)
    assert len(site.log) == 1 + module.TRIES


# ---- what an earlier command left ------------------------------------------------------------------------------------


def test_a_complete_part_is_recognised_by_its_size_or_by_the_server_that_has_no_more(site, target):
    for size, spans in ((SIZE, []), (None, [f"bytes={SIZE}-"])):  # answered with 416
        leave_part(target, CONTENT)
        fetch(site, target, size)
        assert target.read_bytes() == CONTENT
        assert site.spans("file.tgz") == spans
        assert site.sent("file.tgz") == 0
        target.unlink()


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("part", [OTHER[:HALF], OTHER, OTHER + b"more"], ids=["shorter", "as long", "longer"])
def test_a_part_of_another_file_is_thrown_away_and_the_next_command_starts_anew(site, target, part, size):
    leave_part(target, part)
    refused("it is not the file that was meant", site=site, target=target, size=size)
    assert files_beside(target) == []
    fetch(site, target, size)
    assert target.read_bytes() == CONTENT


# ---- what is not the file that was meant -----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_check_sum_is_refused_with_both_sums_and_leaves_nothing(site, target, algorithm):
    found, expected = (hashlib.new(algorithm, content).hexdigest() for content in (CONTENT, OTHER))
    refused(f"{algorithm} {found}, not {expected}", site=site, target=target, check=f"{algorithm}:{expected}")
    assert files_beside(target) == []


def test_a_wrong_size_is_refused_before_the_first_byte_is_sent_and_a_part_is_thrown_away(site, target):
    site.always["file.tgz"] = Mood(hold=True)  # nobody opens the gate
    for part in (b"", OTHER[:HALF]):
        if part:
            leave_part(target, part)
        refused(f"has {SIZE:,} bytes, not {SIZE + 1:,}", site=site, target=target, size=SIZE + 1)
        assert files_beside(target) == []
        assert site.sent("file.tgz") == 0


def test_a_wrong_size_that_the_server_does_not_announce_is_refused_too(site, target):
    site.always["file.tgz"] = Mood(length=False)
    refused(f"has {SIZE:,} bytes, not {SIZE - 1:,}", site=site, target=target, size=SIZE - 1)
    assert files_beside(target) == []


# ---- what cannot be had ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_refuses_is_not_asked_again(site, target, status):
    site.always["file.tgz"] = Mood(status=status)
    refused("cannot fetch", str(status), f"put file.tgz into {target.parent}", "data.mirror", site=site, target=target)
    assert files_beside(target) == []
    assert len(site.log) == 1


def test_a_server_in_trouble_is_asked_again_and_in_the_end_given_up(site, target):
    site.once["file.tgz"] = [Mood(status=500)]
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    target.unlink()
    del site.log[:]
    site.always["file.tgz"] = Mood(status=500)
    refused("cannot fetch", "500", site=site, target=target)
    assert files_beside(target) == []
    assert len(site.log) == module.TRIES


def test_a_server_that_is_gone_or_speaks_another_protocol_is_one_clear_line(site, target, tmp_path):
    site.always["file.tgz"] = Mood(foreign=True)
    refused("cannot fetch", "this is no web server", site=site, target=target)
    with serve(tmp_path / "closed") as gone:
        pass
    refused("cannot fetch", "refused", site=gone, target=target)
    assert files_beside(target) == []


def test_a_folder_that_cannot_be_written_is_one_clear_line(site, target):
    target.parent.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=rf"^cannot write {re.escape(str(target.parent))}: .*$"):
        fetch(site, target)
    assert site.log == []


@pytest.mark.parametrize("check", [True, False])
def test_a_file_that_does_not_fit_is_not_fetched_and_one_cut_by_a_full_disk_is_resumed(site, disk, monkeypatch, check):
    content = bytes(range(256)) * 2_000
    site.put("file", content)
    target, known = disk.path / "file", "md5:" + hashlib.md5(content).hexdigest() if check else ""
    disk.leave(300_000)
    with pytest.raises(UserError, match=r"^file takes 512 kB of disk, and \d+ kB are free in .*: make room, or choose"):
        download(f"{site.address}/file", target, check=known)
    monkeypatch.setattr(disk_space, "free", lambda folder: 1 << 40)
    monkeypatch.setattr("rope_mt.data.download.BLOCK", 1 << 16)
    with pytest.raises(UserError, match=rf"^cannot write {target}.part: {os.strerror(28)}; it needs \d+ kB, "):
        download(f"{site.address}/file", target, check=known)
    assert [path.name for path in disk.path.iterdir() if path.name != ".fill"] == ["file.part"] * check
    disk.make_room()
    download(f"{site.address}/file", target, check=known)
    assert target.read_bytes() == content
    assert bool(site.spans("file")[-1]) == check
