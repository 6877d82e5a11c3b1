"""A download from a server that fails in every way: what comes is whole and verified, or is not there."""

import hashlib
import random
import re
from pathlib import Path

import pytest

from rope_mt.data import download as module
from rope_mt.data.download import download
from rope_mt.errors import UserError

from .archive_site import Mood, Site, serve

CONTENT = random.Random(0).randbytes(200_001)
OTHER = random.Random(1).randbytes(200_001)
SIZE, HALF = len(CONTENT), len(CONTENT) // 2
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
CUT = Mood(cut=True)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server with one file, and a client that loses no time between two tries."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with serve(tmp_path / "site") as site:
        site.put("file.tgz", CONTENT)
        yield site


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


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    target.with_name("file.tgz.part").write_bytes(content)


# ---- what goes well --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [SHA256, MD5, ""])
@pytest.mark.parametrize("size", [SIZE, None])
def test_a_file_is_fetched_in_one_piece_and_nothing_lies_beside_it(site, target, size, check):
    fetch(site, target, size, check)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.tgz"]
    assert site.spans("file.tgz") == [""]


def test_what_is_there_is_not_asked_for(site, target):
    fetch(site, target)
    fetch(site, target)
    assert len(site.log) == 1


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


def test_what_came_before_the_command_gave_up_is_gone_on_with_by_the_next(site, target):
    site.always["file.tgz"] = CUT
    refused("cannot fetch all of", f"{HALF:,} of {SIZE:,} bytes", "the same command goes on", site=site, target=target)
    assert left(target) == ["file.tgz.part"]
    assert target.with_name("file.tgz.part").read_bytes() == CONTENT[:HALF]
    del site.always["file.tgz"], site.log[:]
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.tgz"]
    assert site.spans("file.tgz") == [f"bytes={HALF}-"]
    assert site.sent("file.tgz") == SIZE - HALF


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
    deaf = Mood(ranges=False)
    site.once["file.tgz"] = [Mood(ranges=False, cut=True)]
    site.always["file.tgz"] = deaf
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    target.unlink()
    del site.log[:]
    site.always["file.tgz"] = Mood(ranges=False, cut=True)
    refused("cannot fetch all of", site=site, target=target)
    assert len(site.log) == 1 + module.TRIES


# ---- what an earlier command left ------------------------------------------------------------------------------------


def test_a_part_that_is_whole_needs_no_request_where_the_size_is_known(site, target):
    leave_part(target, CONTENT)
    fetch(site, target, SIZE)
    assert target.read_bytes() == CONTENT
    assert site.log == []


def test_a_part_that_is_whole_is_recognised_by_the_server_having_no_more(site, target):
    leave_part(target, CONTENT)
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    assert site.spans("file.tgz") == [f"bytes={SIZE}-"]  # and the answer was 416
    assert site.sent("file.tgz") == 0


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("part", [OTHER[:HALF], OTHER, OTHER + b"more"], ids=["shorter", "as long", "longer"])
def test_a_part_of_another_file_is_thrown_away_and_the_next_command_starts_anew(site, target, part, size):
    leave_part(target, part)
    refused("it is not the file that was meant", site=site, target=target, size=size)
    assert left(target) == []
    fetch(site, target, size)
    assert target.read_bytes() == CONTENT


# ---- what is not the file that was meant -----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_check_sum_is_refused_with_both_sums_and_leaves_nothing(site, target, algorithm):
    found, expected = (hashlib.new(algorithm, content).hexdigest() for content in (CONTENT, OTHER))
    refused(f"{algorithm} {found}, not {expected}", site=site, target=target, check=f"{algorithm}:{expected}")
    assert left(target) == []


def test_a_wrong_size_is_refused_before_the_first_byte_is_sent(site, target):
    site.always["file.tgz"] = Mood(hold=True)  # nobody opens the gate
    refused(f"has {SIZE:,} bytes, not {SIZE + 1:,}", site=site, target=target, size=SIZE + 1)
    assert left(target) == []
    assert site.sent("file.tgz") == 0


def test_a_wrong_size_throws_away_the_part_that_cannot_become_right(site, target):
    leave_part(target, OTHER[:HALF])
    refused(f"has {SIZE:,} bytes, not {SIZE + 1:,}", site=site, target=target, size=SIZE + 1)
    assert left(target) == []


def test_a_wrong_size_that_nobody_announced_is_refused_too(site, target):
    site.always["file.tgz"] = Mood(length=False)
    refused(f"has {SIZE:,} bytes, not {SIZE - 1:,}", site=site, target=target, size=SIZE - 1)
    assert left(target) == []


# ---- what cannot be had ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_says_no_is_believed_at_once(site, target, status):
    site.always["file.tgz"] = Mood(status=status)
    refused("cannot fetch", str(status), f"put file.tgz into {target.parent}", "data.mirror", site=site, target=target)
    assert left(target) == []
    assert len(site.log) == 1


def test_a_server_in_trouble_is_asked_again_and_in_the_end_given_up(site, target):
    site.once["file.tgz"] = [Mood(status=500)]
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    target.unlink()
    del site.log[:]
    site.always["file.tgz"] = Mood(status=500)
    refused("cannot fetch", "500", site=site, target=target)
    assert left(target) == []
    assert len(site.log) == module.TRIES


def test_what_is_no_web_server_is_one_clear_line(site, target):
    site.always["file.tgz"] = Mood(foreign=True)
    refused("cannot fetch", "this is no web server", site=site, target=target)
    assert left(target) == []


def test_a_server_that_is_not_there_is_one_clear_line(site, target, tmp_path):
    with serve(tmp_path / "closed") as gone:
        pass
    refused("cannot fetch", "refused", site=gone, target=target)
    assert left(target) == []


def test_a_folder_that_cannot_be_written_is_one_clear_line(site, target):
    target.parent.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=rf"^cannot write {re.escape(str(target.parent))}: .*$"):
        fetch(site, target)
    assert site.log == []
