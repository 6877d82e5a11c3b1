"""Archives that are wrong or hostile end in one clear line and leave nothing; and how members become text."""

import gzip
import hashlib
import random
import tarfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import pytest
from sacrebleu.dataset.fake_sgml import FakeSGMLDataset

from rope_mt.data import archives, corpus

from .archive_site import (
    COMMON_CRAWL,
    EUROPARL,
    NEWS_COMMENTARY,
    Member,
    Mood,
    config,
    packed,
    refused_in_code,
    sgml,
    special,
    wmt14,
)
from .wmt14_site import NAMES, TEXTS, assert_text, left, no_text, refused

# ---- archives that are wrong: the command line -----------------------------------------------------------------------


def test_a_wrong_check_sum_leaves_nothing_and_the_next_command_starts_anew(site, prepare, folder, found):
    right = wmt14(site)
    for archive, algorithm in ((right.archives[0], "sha256"), (right.archives[4], "md5")):
        wrong = right.copy()
        digest = hashlib.new(algorithm, b"something else").hexdigest()
        [one] = [one for one in wrong.archives if one.url == archive.url]
        one.check = f"{algorithm}:{digest}"
        refused(prepare(wrong), archive.url, algorithm, f"not {digest}", "not the file that was meant")
        assert PurePosixPath(archive.url).name not in " ".join(left(folder))
        assert not list((folder / "wmt14").glob("newstest2014.*" if algorithm == "md5" else "*.*"))
    said = prepare(right)
    assert said.code == 0, said.err
    assert_text(folder, found)


def test_a_wrong_size_is_refused_before_the_archive_is_sent(site, prepare, folder):
    cfg = wmt14(site)
    cfg.archives[0].size += 1
    site.always[EUROPARL] = Mood(hold=True)
    refused(prepare(cfg), EUROPARL, f"has {cfg.archives[0].size - 1:,} bytes, not {cfg.archives[0].size:,}")
    assert left(folder) == []
    assert site.sent(EUROPARL) == 0


def test_an_archive_that_is_gone_from_its_site_can_be_put_there_by_hand(site, prepare, folder, found, statmt):
    cfg = wmt14(site)
    (site.root / COMMON_CRAWL).unlink()
    refused(prepare(cfg), "cannot fetch", COMMON_CRAWL, "404", "into data/wmt14/archives", "data.mirror")
    assert left(folder) == ["wmt14/archives/training-parallel-europarl-v7.tgz"]
    (folder / "wmt14/archives/training-parallel-commoncrawl.tgz").write_bytes(statmt[COMMON_CRAWL])
    assert prepare(cfg).code == 0
    assert_text(folder, found)


def test_an_archive_put_there_by_hand_is_verified_too(site, prepare, folder):
    path = folder / "wmt14/archives/training-parallel-europarl-v7.tgz"
    path.parent.mkdir(parents=True)
    path.write_bytes(packed(("training/europarl-v7.de-en.de", b"x\n"), ("training/europarl-v7.de-en.en", b"x\n")))
    refused(prepare(wmt14(site)), "data/wmt14/archives/training-parallel-europarl-v7.tgz has", "bytes, not")
    assert no_text(folder)


DE, EN = ("training/europarl-v7.de-en.de", b"eins\nzwei\n"), ("training/europarl-v7.de-en.en", b"one\ntwo\n")
LONG = "".join(f"{n}\n" for n in random.Random(0).choices(range(10**9), k=20_000)).encode()
BOTH = packed((DE[0], LONG), (EN[0], LONG))
BAD_ARCHIVES = {
    "cut in a member": (BOTH[: len(BOTH) // 4], "cannot read", "remove it and run the same command again"),
    "cut between members": (gzip.compress(packed(DE, EN, how="")[:1024]), "holds no europarl-v7.de-en.en"),
    "cut in a header": (gzip.compress(packed(DE, EN, how="")[:1100]), "holds no europarl-v7.de-en.en"),
    "damaged": (BOTH[:9_000] + bytes(100) + BOTH[9_100:], "cannot read", "remove it"),
    "no archive": (b"<html>Not here any more.</html>", "cannot read", "remove it"),
    "cut xz": (packed((DE[0], LONG), (EN[0], LONG), how="xz")[:60_000], "cannot read", "remove it"),
    "cut bz2": (packed((DE[0], LONG), (EN[0], LONG), how="bz2")[:60_000], "cannot read", "remove it"),
    "a side is missing": (packed(DE), "holds no europarl-v7.de-en.en"),
    "both are missing": (packed(), "holds no europarl-v7.de-en.de and no europarl-v7.de-en.en"),
    "twice": (packed(DE, ("elsewhere/europarl-v7.de-en.de", b"drei\nvier\n"), EN), "more than once", ".de-en.de"),
    "unequal": (
        packed(DE, (EN[0], b"one\ntwo\nthree")),
        "europarl-v7.de-en.de has 2 lines",
        "europarl-v7.de-en.en has 3 lines",
    ),
    "a folder": (packed(DE, special(EN[0], tarfile.DIRTYPE)), "holds no europarl-v7.de-en.en"),
    "only links": (
        packed(DE, special(EN[0], tarfile.SYMTYPE, DE[0]), special(EN[0], tarfile.LNKTYPE, DE[0])),
        "holds no europarl-v7.de-en.en",
    ),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_an_archive_with_the_right_check_sum_and_wrong_insides_is_refused(site, folder, case):
    content, *words = BAD_ARCHIVES[case]
    site.put(EUROPARL, content)
    refused_in_code(wmt14(site), folder, "data/wmt14/archives/training-parallel-europarl-v7.tgz", *words)
    assert no_text(folder)
    assert set(left(folder)) == {
        f"wmt14/archives/{PurePosixPath(path).name}" for path in (EUROPARL, COMMON_CRAWL, NEWS_COMMENTARY)
    }


def test_nothing_is_written_outside_and_no_link_is_followed_whatever_an_archive_holds(site, prepare, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("not for the corpus\n")
    evil = b"evil\n"
    hostile: list[Member] = [
        ("../evil", evil),
        ("../../../../evil", evil),
        (str(tmp_path / "evil"), evil),
        special("training", tarfile.SYMTYPE, str(tmp_path)),
        ("training/evil", evil),
        special("europarl-v7.de-en.de", tarfile.SYMTYPE, str(secret)),
        special("x/europarl-v7.de-en.en", tarfile.LNKTYPE, str(secret)),
        special("europarl-v7.de-en.en", tarfile.DIRTYPE),
        special("y/europarl-v7.de-en.en", tarfile.FIFOTYPE),
        (f"../..{tmp_path}/europarl-v7.de-en.de", DE[1]),
        ("/europarl-v7.de-en.en", EN[1]),
    ]
    before = {*left(tmp_path)}
    site.put(EUROPARL, packed(*hostile))
    said = prepare(wmt14(site))
    assert said.code == 0, said.err
    made = {name for name in left(tmp_path) if name not in before and not name.startswith(("conf/", "site/"))}
    assert made - {f"cwd/data/wmt14/{name}" for name in (*TEXTS, *(f"archives/{name}" for name in NAMES))} == {
        name for name in made if name.startswith("cwd/data/wmt14-")
    }
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert secret.read_text() == "not for the corpus\n"
    for lang, content in (("de", DE[1]), ("en", EN[1])):
        assert (folder / f"wmt14/train.{lang}").read_bytes().startswith(content)
        assert secret.read_bytes() not in (folder / f"wmt14/train.{lang}").read_bytes()


def test_an_error_in_the_second_archive_leaves_no_half_of_the_text(site, prepare, folder):
    site.put(COMMON_CRAWL, packed(("commoncrawl.de-en.de", b"eins\n")))
    refused(prepare(wmt14(site)), "training-parallel-commoncrawl.tgz holds no commoncrawl.de-en.en")
    assert no_text(folder)


def test_half_of_a_text_that_a_killed_command_left_is_made_again(site, folder, found):
    (folder / "wmt14").mkdir(parents=True)
    (folder / "wmt14" / "train.en").write_bytes(b"an old line\n")
    for name in (".train.de.123", ".newstest2013.en.123"):
        (folder / "wmt14" / name).write_bytes(b"half a li")
    corpus.locate(config(wmt14(site), folder))
    assert_text(folder, found)
    assert {name for name in left(folder / "wmt14") if not name.startswith("archives/")} == set(TEXTS)


def test_a_language_that_the_archives_do_not_have_is_one_line(site, prepare, folder):
    refused(prepare(wmt14(site), "data.src_lang=fr"), "data=wmt14 has en and de, not fr")
    assert site.log == []
    assert not folder.exists()


# ---- how members become text -----------------------------------------------------------------------------------------


def copied(tmp_path: Path, *members: tuple[str, bytes], how: str = "gz") -> list[bytes]:
    """What the members of an archive become."""
    (tmp_path / "archive").write_bytes(packed(*members, how=how))
    names = [name for name, _ in members]
    with ExitStack() as files:
        outputs = {name: files.enter_context(open(tmp_path / f"{name}.out", "wb")) for name in names}
        archives.copy_members(tmp_path / "archive", outputs)
    return [(tmp_path / f"{name}.out").read_bytes() for name in names]


@pytest.mark.parametrize("how", ["", "gz", "bz2", "xz"])
def test_an_archive_is_read_however_it_is_compressed(tmp_path, how):
    assert copied(tmp_path, ("a", b"one\n"), ("b", b"eins\n"), how=how) == [b"one\n", b"eins\n"]


def test_a_last_line_without_an_end_does_not_run_into_the_next_archive(tmp_path):
    assert copied(tmp_path, ("a", b"one\ntwo"), ("b", b"eins\nzwei\n")) == [b"one\ntwo\n", b"eins\nzwei\n"]


def test_lines_are_taken_byte_by_byte(tmp_path):
    odd = "carriage\r\nnext line\x85vertical\x0btab \u2028and  blanks \n\n".encode() + b"\xff\n"
    assert copied(tmp_path, ("a", odd), ("b", odd)) == [odd, odd]


def test_members_larger_than_a_block_keep_every_line(tmp_path):
    large = b"".join(b"%d\n" % n for n in range(400_000))
    assert len(large) > 2 * archives.BLOCK
    assert copied(tmp_path, ("a", large), ("b", large[:-1])) == [large, large]


def test_segments_are_what_sacrebleu_makes_of_them(tmp_path):
    lines = [
        "plain",
        "  spaces   and\ttabs ",
        "no-break\u00a0space, thin\u2009space, line\u2028separator",
        "Tom &amp; Jerry &lt;b&gt; \u201equoted\u201c",
        "a <b>mark</b> inside",
        "ends in </seg>",
        "",
    ]
    document = sgml(lines, "refset").replace(b'<seg id="2">', b'<seg  id="2" kind="x>y">')
    (tmp_path / "a.sgm").write_bytes(document)
    FakeSGMLDataset("any", langpairs={})._convert_format(str(tmp_path / "a.sgm"), str(tmp_path / "a.txt"))
    ours = copied(tmp_path, ("a.sgm", document), ("b.sgm", document))
    assert ours == [(tmp_path / "a.txt").read_bytes()] * 2
