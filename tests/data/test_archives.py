"""WMT14 from its archives: what becomes text, and which archives are refused."""

import gzip
import random
import re
import shutil
import tarfile
import threading
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from omegaconf import OmegaConf
from sacrebleu.dataset.fake_sgml import FakeSGMLDataset

from rope_mt.cli.main import main
from rope_mt.config.files import conf_dir
from rope_mt.data import archives, corpus
from rope_mt.errors import UserError

from . import archive_site as wmt
from .archive_site import Mood, assert_text, config, files_below, locate, packed, plain, refused, sgml, special, wmt14

# ---- what goes well --------------------------------------------------------------------------------------------------


def test_the_command_goes_from_archives_to_a_prepared_folder(site, tmp_path, folder, packed_text, monkeypatch, capsys):
    """Once the text is there, other settings need no archive."""
    (tmp_path / "conf" / "data").mkdir(parents=True)
    OmegaConf.save(wmt14(site), tmp_path / "conf" / "data" / "local.yaml")
    words = ["prepare", f"--config-dir={tmp_path / 'conf'}", "data=local"]
    folder.parent.mkdir()
    monkeypatch.chdir(folder.parent)
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "300 pairs read" in out
    assert "takes up to 10.0 MB of disk in data/wmt14; 0 bytes are there" in err
    assert_text(folder, packed_text)
    assert files_below(folder / "wmt14") == sorted([*wmt.TEXTS, *(f"archives/{name}" for name in wmt.NAMES)])
    assert sorted(asked.path for asked in site.log) == wmt.ARCHIVES
    for name in wmt.TEXTS:
        assert wmt.FRENCH.strip() not in (folder / "wmt14" / name).read_bytes()
    shutil.rmtree(folder / "wmt14" / "archives")
    assert main([*words, "data.vocab_size=390"]) == 0
    out, err = capsys.readouterr()
    assert (err, "300 pairs read" in out) == ("", True)
    assert len(site.log) == len(wmt.ARCHIVES)


def test_the_other_direction_is_made_from_archives_of_an_earlier_command(site, folder, packed_text):
    locate(wmt14(site), folder)
    (folder / "wmt14" / "train.de").unlink()
    made = locate(wmt14(site, src_lang="de", tgt_lang="en"), folder)
    assert made.train == [(folder / "wmt14/train.de", folder / "wmt14/train.en")]
    assert len(site.log) == len(wmt.ARCHIVES)
    assert_text(folder, packed_text)


def test_a_test_set_takes_no_archive_but_its_own(site, folder):
    [(source, target)] = corpus.find(config(wmt14(site), folder), "test")
    assert (source.name, target.name) == ("newstest2014.en", "newstest2014.de")
    assert [asked.path for asked in site.log] == [wmt.TEST]


def test_text_of_ones_own_takes_the_place_of_an_archive(site, folder, packed_text):
    for lang in ("en", "de"):
        path = folder / "wmt14" / f"train.{lang}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(plain(packed_text["europarl-v7"][lang])))
    made = locate(wmt14(site), folder)
    assert [source.name for source, _ in made.train] == ["train.en.gz"]
    assert sorted(asked.path for asked in site.log) == sorted([wmt.DEV, wmt.TEST])


def test_files_and_sizes_are_announced_before_anything_is_fetched(site, folder, capsys):
    """The configuration as it is, with a mirror that has none of it."""
    cfg = OmegaConf.load(conf_dir() / "data" / "wmt14.yaml")
    cfg.update({"mirror": f"{site.address}/nothing", "disk": 0.25})
    refused(cfg, folder, "cannot fetch", "/nothing/training-parallel-europarl-v7.tgz", "404")
    announced = capsys.readouterr().err.partition("fetching")[0]
    for word in (
        "data=wmt14 is not all there",
        "training-parallel-europarl-v7.tgz (658 MB), training-parallel-commoncrawl.tgz (918 MB)",
        "training-parallel-nc-v9.tgz (80 MB), dev.tgz (39 MB), test-full.tgz",
        "takes up to 250.0 MB of disk",
    ):
        assert word in announced


def test_two_commands_at_once_fetch_each_file_once_and_both_end_well(site, folder, packed_text, capsys):
    site.always[wmt.EUROPARL] = Mood(hold=True)
    made, cfg = [], config(wmt14(site), folder)
    both = [threading.Thread(target=lambda: made.append(corpus.locate(cfg))) for _ in range(2)]
    for command in both:
        command.start()
    said = ""
    while "waiting for another rope-mt" not in said:
        said += capsys.readouterr().err
    site.gate.set()
    for command in both:
        command.join()
    assert made[0] == made[1]
    assert sorted(asked.path for asked in site.log) == wmt.ARCHIVES
    said += capsys.readouterr().err
    assert said.count("reading ") == len(wmt.ARCHIVES)  # each text is made by one of them
    assert_text(folder, packed_text)


# ---- a disk, a connection --------------------------------------------------------------------------------------------


def test_files_that_are_there_need_no_room_again(site, folder, packed_text, monkeypatch):
    """On a disk that has just as much as the corpus takes, every text is made, not only the first."""
    usage = type(shutil.disk_usage(folder.parent.parent))

    def disk(path: Any) -> Any:
        used = sum((folder / name).stat().st_size for name in files_below(folder))
        return usage(10_000_000, used, 10_000_000 - used)

    monkeypatch.setattr(shutil, "disk_usage", disk)
    words = ("takes up to 10.0 MB of disk", "10.0 MB are free: make room", "data.dir=FOLDER")
    refused(wmt14(site, disk=0.010_001), folder, *words)
    assert site.log == []
    assert files_below(folder) == []
    locate(wmt14(site), folder)
    assert_text(folder, packed_text)


def test_half_of_a_text_that_a_killed_command_left_is_made_again(site, folder, packed_text):
    (folder / "wmt14").mkdir(parents=True)
    (folder / "wmt14" / "train.en").write_bytes(b"an old line\n")
    for name in (".train.de.123", ".newstest2013.en.123"):
        (folder / "wmt14" / name).write_bytes(b"half a li")
    locate(wmt14(site), folder)
    assert_text(folder, packed_text)
    assert files_below(folder / "wmt14") == sorted([*wmt.TEXTS, *(f"archives/{name}" for name in wmt.NAMES)])


# ---- archives that are wrong -----------------------------------------------------------------------------------------


def test_an_archive_gone_from_its_site_can_be_put_there_by_hand_and_is_verified(site, folder, packed_text, statmt):
    cfg = wmt14(site)
    (site.root / wmt.COMMON_CRAWL).unlink()
    refused(cfg, folder, "cannot fetch", wmt.COMMON_CRAWL, "404", "data/wmt14/archives", "data.mirror")
    assert files_below(folder) == ["wmt14/archives/training-parallel-europarl-v7.tgz"]
    by_hand = folder / "wmt14/archives/training-parallel-commoncrawl.tgz"
    by_hand.write_bytes(packed(("commoncrawl.de-en.de", b"x\n"), ("commoncrawl.de-en.en", b"x\n")))
    refused(cfg, folder, f"{by_hand} has", "bytes, not")
    assert wmt.has_no_text(folder)
    by_hand.write_bytes(statmt[wmt.COMMON_CRAWL])
    locate(cfg, folder)
    assert_text(folder, packed_text)


DE, EN = ("training/europarl-v7.de-en.de", b"eins\nzwei\n"), ("training/europarl-v7.de-en.en", b"one\ntwo\n")
LONG = "".join(f"{n}\n" for n in random.Random(0).choices(range(10**9), k=20_000)).encode()
BOTH = packed((DE[0], LONG), (EN[0], LONG))
LINKS = [special(EN[0], kind, DE[0]) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)]
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
    "unequal": (packed(DE, (EN[0], b"one\ntwo\nthree")), ".de-en.de has 2 lines", ".de-en.en has 3 lines"),
    "a folder": (packed(DE, special(EN[0], tarfile.DIRTYPE)), "holds no europarl-v7.de-en.en"),
    "only links": (packed(DE, *LINKS), "holds no europarl-v7.de-en.en"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_an_archive_with_the_right_checksum_and_wrong_content_is_refused(site, folder, case):
    content, *words = BAD_ARCHIVES[case]
    site.put(wmt.EUROPARL, content)
    refused(wmt14(site), folder, "data/wmt14/archives/training-parallel-europarl-v7.tgz", *words)
    assert wmt.has_no_text(folder)
    fetched = sorted(PurePosixPath(path).name for path in (wmt.EUROPARL, wmt.COMMON_CRAWL, wmt.NEWS_COMMENTARY))
    assert files_below(folder) == [f"wmt14/archives/{name}" for name in fetched]


def test_nothing_is_written_outside_and_no_link_is_followed_whatever_an_archive_holds(site, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("not for the corpus\n")
    evil = b"evil\n"
    hostile: list[wmt.Member] = [
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
    site.put(wmt.EUROPARL, packed(*hostile))
    before = {*files_below(tmp_path)}
    locate(wmt14(site), folder)
    texts = {f"cwd/data/wmt14/{name}" for name in (*wmt.TEXTS, *(f"archives/{name}" for name in wmt.NAMES))}
    assert {*files_below(tmp_path)} - before == texts
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    for lang, content in (("de", DE[1]), ("en", EN[1])):
        assert (folder / f"wmt14/train.{lang}").read_bytes().startswith(content)
        assert secret.read_bytes() not in (folder / f"wmt14/train.{lang}").read_bytes()


def test_a_language_that_the_archives_do_not_have_is_one_line(site, folder):
    refused(wmt14(site, src_lang="fr"), folder, "data=wmt14 has en and de, not fr")
    assert site.log == []
    assert not folder.exists()


# ---- how members become text -----------------------------------------------------------------------------------------


def copied(tmp_path: Path, *members: tuple[str, bytes], how: str = "gz") -> list[bytes]:
    """The text that the members of an archive become."""
    (tmp_path / "archive").write_bytes(packed(*members, how=how))
    names = [name for name, _ in members]
    with ExitStack() as files:
        outputs = {name: files.enter_context(open(tmp_path / f"{name}.out", "wb")) for name in names}
        archives.copy_members(tmp_path / "archive", outputs)
    return [(tmp_path / f"{name}.out").read_bytes() for name in names]


@pytest.mark.parametrize("how", ["", "gz", "bz2", "xz"])
def test_lines_are_copied_byte_by_byte_however_an_archive_is_compressed(tmp_path, monkeypatch, how):
    """A last line without an end gets one, so that it does not run into the next archive."""
    odd = "carriage\r\nnext line\x85vertical\x0btab \u2028and  blanks \n\n".encode() + b"\xff\n"
    large = b"".join(b"%d\n" % n for n in range(10_000))
    monkeypatch.setattr(archives, "BLOCK", 1000)  # so that a member has many
    assert copied(tmp_path, ("a", odd + large), ("b", odd + large[:-1]), how=how) == [odd + large] * 2


def test_segments_on_lines_of_their_own_are_what_sacrebleu_makes_of_them(tmp_path):
    lines = ["plain", "  spaces   and\ttabs ", "no-break\u00a0space, thin\u2009space, \u2028separator", "", "a < b & c"]
    document = sgml(lines, "refset").replace(b'<seg id="2">', b'<seg  id="2" kind="x">')
    (tmp_path / "a.sgm").write_bytes(document)
    FakeSGMLDataset("any", langpairs={})._convert_format(str(tmp_path / "a.sgm"), str(tmp_path / "a.txt"))
    ours = copied(tmp_path, ("a.sgm", document), ("b.sgm", document))
    assert ours == [(tmp_path / "a.txt").read_bytes()] * 2


def test_segments_may_stand_anywhere_and_have_entities(tmp_path):
    apart = sgml(["Tom &amp; Ann&auml; &lt;3 &#8222;Q&quot;", "two", "three\nfour", ""], "refset")
    together = apart.replace(b"\n", b" ").replace(b"<seg", b"<SEG").replace(b"</seg>", b"</SEG >")
    one, other = copied(tmp_path, ("a.sgm", apart), ("b.sgm", together))
    assert one.decode() == other.decode() == 'Tom & Ann\u00e4 <3 \u201eQ"\ntwo\nthree four\n\n'


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("one</seg>", "one", "segment 1 of document 1 has <seg> in it"),
        ("two", "t<b>w</b>o", "segment 2 of document 1 has <b> in it; a < of the text is written &lt;"),
        ("three</seg>\n</p>\n</doc>\n</refset>\n", "three", "segment 3 of document 1 does not end"),
        ('id="3"', 'id="1"', "segment 1 of document 1 is there twice"),
        ('id="1">one</seg>\n<seg id="2"', 'id="2">one</seg>\n<seg id="1"', "segments in different orders"),
    ],
)
def test_segments_that_could_be_lost_or_exchanged_are_refused(tmp_path, old, new, reason):
    whole = sgml(["one", "two", "three"], "refset")
    assert old.encode() in whole
    with pytest.raises(UserError, match=re.escape(reason)):
        copied(tmp_path, ("a.sgm", whole.replace(old.encode(), new.encode())), ("b.sgm", whole))
