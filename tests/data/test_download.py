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

from .archive_site import Mood, Site, files_below, serve

CONTENT = random.Random(0).randbytes(200_001)
OTHER = random.Random(1).randbytes(200_001)
SIZE, HALF = len(CONTENT), len(CONTENT) // 2
REST = f"bytes={HALF}-"
SHA256, MD5 = (f"{name}:{hashlib.new(name, CONTENT).hexdigest()}" for name in ("sha256", "md5"))
CUT, DOWN, NO_RANGES = Mood(cut=True), Mood(status=503), Mood(ranges=False)


@pytest.fixture
def site(site):
    site.put("file.tgz", CONTENT)
    return site


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "here" / "file.tgz"


def fetch(site: Site, target: Path, size: int | None = None, check: str = SHA256) -> None:
    download(f"{site.address}/file.tgz", target, size, check)


def refused(site: Site, target: Path, *words: str, size: int | None = None, check: str = SHA256) -> None:
    """There is no file, and the one line that says why has these words."""
    with pytest.raises(UserError) as error:
        fetch(site, target, size, check)
    line = " ".join(str(error.value).split())  # as the command line prints it
    for word in (f"{site.address}/file.tgz", *words):
        assert word in line
    assert not target.exists()


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir(exist_ok=True)
    target.with_name("file.tgz.part").write_bytes(content)


# ---- the file is fetched ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moods", "spans"),
    [
        ([], [""]),
        ([CUT], ["", REST]),
        ([DOWN, DOWN, CUT, DOWN, DOWN], ["", "", "", REST, REST, REST]),  # tries are counted anew when something came
        ([Mood(cut=True, ranges=False), NO_RANGES], ["", REST]),
    ],
    ids=["well", "cut", "often down", "ignores ranges"],
)
@pytest.mark.parametrize(("size", "check"), [(SIZE, SHA256), (None, MD5), (SIZE, ""), (None, "")])
def test_a_file_is_fetched_once_and_after_a_cut_only_the_rest_of_it(site, target, size, check, moods, spans, capsys):
    site.once["file.tgz"] = list(moods)
    for _ in range(2):
        fetch(site, target, size, check)
        assert target.read_bytes() == CONTENT
        assert files_below(target.parent) == ["file.tgz"]
        assert site.spans("file.tgz") == spans
    message = f"no answer, or not all of it ({HALF:,} of {SIZE:,} bytes came); trying again"
    assert (message in capsys.readouterr().err) == (REST in spans)


def test_a_cut_shows_by_the_size_alone_where_the_server_announces_none(site, target):
    site.once["file.tgz"] = [Mood(cut=True, length=False)]
    fetch(site, target, SIZE)
    assert target.read_bytes() == CONTENT
    assert site.spans("file.tgz") == ["", REST]


def test_an_empty_file_is_a_file(site, target):
    site.put("file.tgz", b"")
    fetch(site, target, None, f"sha256:{hashlib.sha256(b'').hexdigest()}")
    assert target.read_bytes() == b""


# ---- an earlier command left a part ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mood", [CUT, Mood(cut=True, ranges=False)], ids=["ranges", "no ranges"])
def test_with_a_checksum_the_next_command_resumes_after_the_bytes_that_came(site, target, mood):
    site.always["file.tgz"] = mood
    refused(site, target, f"{HALF:,} of {SIZE:,} bytes", "the same command continues where it was cut")
    assert len(site.log) == 1 + module.TRIES
    assert target.with_name("file.tgz.part").read_bytes() == CONTENT[:HALF]
    del site.always["file.tgz"], site.log[:]
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    assert files_below(target.parent) == ["file.tgz"]
    assert site.spans("file.tgz") == [REST]


def test_without_a_checksum_no_part_is_trusted(site, target):
    site.always["file.tgz"] = CUT
    refused(site, target, "put file.tgz into", check="")
    leave_part(target, OTHER[:HALF])
    del site.always["file.tgz"], site.log[:]
    fetch(site, target, check="")
    assert target.read_bytes() == CONTENT
    assert site.spans("file.tgz") == [""]


@pytest.mark.parametrize(("size", "spans"), [(SIZE, []), (None, [f"bytes={SIZE}-"])])
def test_a_complete_part_is_recognised_by_its_size_or_by_the_server_that_has_no_more(site, target, size, spans):
    leave_part(target, CONTENT)
    fetch(site, target, size)
    assert target.read_bytes() == CONTENT
    assert site.spans("file.tgz") == spans


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("part", [OTHER[:HALF], OTHER, OTHER + b"more"], ids=["shorter", "as long", "longer"])
def test_a_part_of_another_file_is_thrown_away_and_the_next_command_starts_anew(site, target, part, size):
    leave_part(target, part)
    refused(site, target, "it is not the file that was meant", size=size)
    assert files_below(target.parent) == []
    fetch(site, target, size)
    assert target.read_bytes() == CONTENT


# ---- there is no file ------------------------------------------------------------------------------------------------

WRONG_SUMS = {name: hashlib.new(name, OTHER).hexdigest() for name in ("sha256", "md5")}
REFUSED = {  # mood of the server, what is known of the file, words of the message, requests
    "403": (Mood(status=403), {}, ["403", "put file.tgz into", "data.mirror"], 1),
    "404": (Mood(status=404), {}, ["404", "put file.tgz into", "data.mirror"], 1),
    "500": (Mood(status=500), {}, ["cannot fetch", "500"], module.TRIES),
    "another protocol": (Mood(foreign=True), {}, ["cannot fetch", "this is no web server"], module.TRIES),
    "sha256": (Mood(), {"check": f"sha256:{WRONG_SUMS['sha256']}"}, [SHA256[7:], WRONG_SUMS["sha256"]], 1),
    "md5": (Mood(), {"check": f"md5:{WRONG_SUMS['md5']}"}, [MD5[4:], f"not {WRONG_SUMS['md5']}"], 1),
    "larger": (Mood(), {"size": SIZE - 1}, [f"has {SIZE:,} bytes, not {SIZE - 1:,}"], 1),
    "smaller": (Mood(), {"size": SIZE + 1}, [f"has {SIZE:,} bytes, not {SIZE + 1:,}"], 1),
    "larger, unannounced": (Mood(length=False), {"size": SIZE - 1}, [f"has {SIZE:,} bytes, not {SIZE - 1:,}"], 1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_had_or_is_another_is_one_line_and_leaves_nothing(site, target, case):
    mood, known, words, requests = REFUSED[case]
    site.always["file.tgz"] = mood
    refused(site, target, *words, **known)
    assert files_below(target.parent) == []
    assert len(site.log) == requests


def test_a_server_that_is_gone_and_a_folder_that_cannot_be_written_are_one_line(site, target, tmp_path):
    with serve(tmp_path / "closed") as gone:
        pass
    refused(gone, target, "cannot fetch", "refused")
    with pytest.raises(UserError, match=r"^cannot fetch http://localhost/Übung \(.*: put "):
        download("http://localhost/Übung", target)
    with pytest.raises(UserError, match=r"^cannot fetch /mnt/raw/text\.gz \(.*: put "):
        download("/mnt/raw/text.gz", target)
    blocked = tmp_path / "file" / "file.tgz"
    blocked.parent.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=rf"^cannot write {re.escape(str(blocked.parent))}: .*$"):
        fetch(site, blocked)
    assert site.log == []


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_a_full_disk_cuts_is_resumed_if_its_checksum_is_known(site, disk, monkeypatch, known):
    content = bytes(range(256)) * 2_000
    address = site.put("file", content)
    target, check = disk.path / "file", "md5:" + hashlib.md5(content).hexdigest() if known else ""
    disk.leave(300_000)
    monkeypatch.setattr(module, "BLOCK", 1 << 16)
    with pytest.raises(UserError, match=rf"^cannot write {target}.part: {os.strerror(28)}; it needs \d+ kB, "):
        download(address, target, check=check)
    disk.make_room()
    download(address, target, check=check)
    assert target.read_bytes() == content
    assert bool(site.spans("file")[-1]) == known
