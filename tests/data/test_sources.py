"""WMT14 from its archives or its Parquet files: what becomes text, what is refused, and what is left after that."""

import gzip
import hashlib
import io
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from sacrebleu.dataset.fake_sgml import FakeSGMLDataset

from rope_mt import cli
from rope_mt.config import DataConfig
from rope_mt.data import corpus, download, sources
from rope_mt.errors import UserError

from .archive_site import (
    COMMON_CRAWL,
    COUNTS,
    DEV,
    EUROPARL,
    FRENCH,
    NEWS_COMMENTARY,
    TEST,
    TRAIN,
    Member,
    Mood,
    Sides,
    Site,
    archives,
    config,
    packed,
    plain,
    serve,
    sgml,
    special,
    texts,
    wmt14,
)

TEXTS = [f"{name}.{lang}" for name in ("newstest2013", "newstest2014", "train") for lang in ("de", "en")]
ARCHIVES = sorted([COMMON_CRAWL, DEV, EUROPARL, NEWS_COMMENTARY, TEST])
NAMES = sorted(PurePosixPath(path).name for path in ARCHIVES)
SHORT = ["trainer.max_steps=3", "trainer.val_every=3", "trainer.val_sentences=4", "optimizer.warmup_steps=2"]
SHORT += ["data.batch_tokens=2048", "data.max_len=200", "search=greedy", "search.max_len_a=0.2", "tracking=none"]


@pytest.fixture(scope="session")
def found() -> dict[str, Sides]:
    return texts()


@pytest.fixture(scope="session")
def statmt(found) -> dict[str, bytes]:
    return archives(found)


@pytest.fixture
def site(tmp_path, monkeypatch, statmt) -> Iterator[Site]:
    """A server with all archives, and a client that loses no time between two tries."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with serve(tmp_path / "site") as site:
        for path, content in statmt.items():
            site.put(path, content)
        yield site


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where the text is made."""
    return tmp_path / "cwd" / "data"


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys) -> Iterator[Callable[..., Said]]:
    """`rope-mt prepare` in this process and in a folder of its own; a configuration becomes data=local."""
    from hydra.core.global_hydra import GlobalHydra

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(cfg: Any, *words: str) -> Said:
        capsys.readouterr()
        code = cli.main(["prepare", *chosen(cfg, tmp_path / "conf"), *words])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    yield run
    GlobalHydra.instance().clear()


def chosen(cfg: Any, conf: Path) -> list[str]:
    """Lay a data configuration where --config-dir finds it, and give the words that choose it."""
    (conf / "data").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, conf / "data" / "local.yaml")
    return [f"--config-dir={conf}", "data=local"]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "rope_mt", *words]


def refused(said: Said, *words: str) -> str:
    """The one line that a command ends with when there is something for the user to mend."""
    line = said.err.splitlines()[-1]
    assert said.code == 2, said.err
    assert line.startswith("rope-mt: ")
    assert said.err.count("rope-mt: ") == 1
    assert "Traceback" not in said.err
    for word in words:
        assert word in line, line
    return line


def left(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def no_text(folder: Path) -> bool:
    """Whether nothing is there that a later command would take for text or for a prepared corpus."""
    return all(PurePosixPath(name).parent == PurePosixPath("wmt14/archives") for name in left(folder))


def expected(found: dict[str, Sides], lang: str, *names: str) -> bytes:
    return b"".join(plain(found[name][lang]) for name in names)


def assert_text(folder: Path, found: dict[str, Sides]) -> None:
    """The text made is the text that was packed."""
    for lang in ("en", "de"):
        assert (folder / f"wmt14/train.{lang}").read_bytes() == expected(found, lang, *TRAIN)
        for name in ("newstest2013", "newstest2014"):
            assert (folder / f"wmt14/{name}.{lang}").read_bytes() == expected(found, lang, name)


# ---- what goes well --------------------------------------------------------------------------------------------------


def test_one_command_goes_from_the_archives_of_the_site_to_a_scored_run(site, tmp_path, found, prepare):
    cwd, cfg = tmp_path / "cwd", wmt14(site)
    words = command("train", *chosen(cfg, tmp_path / "conf"), "model=tiny", "position=rope", *SHORT)
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "BLEU|nrefs:1" in done.stdout
    [run] = (cwd / "outputs").glob("wmt14-tiny-rope-*")
    assert (run / "result.json").is_file()
    assert (run / "test.ref").read_bytes() == expected(found, "de", "newstest2014")
    assert (run / "test.src").read_bytes() == expected(found, "en", "newstest2014")
    assert_text(cwd / "data", found)
    assert left(cwd / "data" / "wmt14") == sorted([*TEXTS, *(f"archives/{name}" for name in NAMES)])
    assert sorted(asked.path for asked in site.log) == ARCHIVES

    del site.log[:]
    shutil.rmtree(cwd / "data" / "wmt14" / "archives")
    again = prepare(cfg, "data.vocab_size=390")  # other settings, so the text is read again
    assert again.code == 0, again.err
    assert again.err == ""
    assert "900 pairs read" in again.out
    assert site.log == []


def test_nothing_of_other_languages_is_unpacked(site, folder):
    corpus.locate(config(wmt14(site), folder))
    assert {name for name in left(folder / "wmt14") if not name.startswith("archives/")} == set(TEXTS)
    for name in TEXTS:
        assert FRENCH.strip() not in (folder / "wmt14" / name).read_bytes()


def test_archives_of_an_earlier_command_are_read_and_not_fetched(site, folder, found):
    cfg = config(wmt14(site), folder)
    corpus.locate(cfg)
    (folder / "wmt14" / "train.de").unlink()
    del site.log[:]
    corpus.locate(cfg)
    assert site.log == []
    assert_text(folder, found)


def test_the_other_direction_is_made_from_the_same_archives(site, folder, found):
    cfg = wmt14(site)
    cfg.src_lang, cfg.tgt_lang = "de", "en"
    made = corpus.locate(config(cfg, folder))
    assert made.train == [(folder / "wmt14/train.de", folder / "wmt14/train.en")]
    assert_text(folder, found)


def test_text_of_ones_own_takes_the_place_of_an_archive(site, folder, found):
    for lang in ("en", "de"):
        path = folder / "wmt14" / f"train.{lang}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(plain(found["europarl-v7"][lang])))
    made = corpus.locate(config(wmt14(site), folder))
    assert [source.name for source, _ in made.train] == ["train.en.gz"]
    assert sorted(asked.path for asked in site.log) == sorted([DEV, TEST])


def test_files_and_sizes_are_announced_before_anything_is_fetched(site, prepare):
    """The configuration as it is, with a mirror that has none of it."""
    from rope_mt.hydra_commands import conf_dir

    cfg = OmegaConf.load(conf_dir() / "data" / "wmt14.yaml")
    said = prepare(cfg, f"data.mirror={site.address}/nothing", "data.disk=0.25")
    refused(said, "cannot fetch", "/nothing/training-parallel-europarl-v7.tgz", "404")
    before = said.err[: said.err.index("fetching")]
    for word in (
        "data=wmt14 is not all there",
        "training-parallel-europarl-v7.tgz (658 MB)",
        "training-parallel-commoncrawl.tgz (918 MB)",
        "training-parallel-nc-v9.tgz (80 MB), dev.tgz (39 MB), test-full.tgz",
        "takes up to 0.2 GB of disk",
        "GB are free",
    ):
        assert word in before


def test_two_commands_at_once_fetch_each_file_once_and_both_end_well(site, tmp_path, found):
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    words = command("prepare", *chosen(wmt14(site), tmp_path / "conf"))
    site.always[COMMON_CRAWL] = Mood(hold=True)
    kept: dict[str, Any] = {"cwd": cwd, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **kept) as first:
        assert first.stderr
        assert any("fetching" in line and COMMON_CRAWL in line for line in first.stderr)
        with subprocess.Popen(words, **kept) as second:
            assert second.stderr
            assert any("waiting for another rope-mt" in line for line in second.stderr)
            site.gate.set()
            said = [process.communicate(timeout=120) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert sorted(asked.path for asked in site.log) == ARCHIVES
    assert said[0][0] == said[1][0]  # both report the same folder
    read = [line for _, err in said for line in err.splitlines() if line.startswith("reading")]
    assert len(read) == len({*read}) == len(ARCHIVES)  # each text is made by one of them and found by the other
    assert_text(cwd / "data", found)


# ---- a disk, a connection --------------------------------------------------------------------------------------------


def test_a_disk_without_room_is_one_line_before_anything_is_fetched(site, prepare, folder):
    said = prepare(wmt14(site), "data.disk=1e9")
    refused(said, "takes up to 1000000000.0 GB of disk", "GB are free: make room", "data.dir=FOLDER")
    assert left(folder) == []
    assert site.log == []


def test_what_lies_there_already_needs_no_room_again(site, folder, found, monkeypatch):
    """On a disk that has just as much as the corpus takes, every text is made, not only the first."""
    cfg = config(wmt14(site), folder)
    usage = type(shutil.disk_usage(folder.parent.parent))

    def disk(path: Any) -> Any:
        used = sum((folder / name).stat().st_size for name in left(folder))
        return usage(10_000_000, used, 10_000_000 - used)

    monkeypatch.setattr(shutil, "disk_usage", disk)
    corpus.locate(cfg)
    assert_text(folder, found)
    cfg.disk = 0.010_001
    (folder / "wmt14" / "train.de").unlink()
    with pytest.raises(UserError, match="make room"):
        corpus.locate(cfg)


def test_an_archive_that_was_cut_is_gone_on_with_by_the_same_command(site, prepare, folder, found):
    size = len((site.root / EUROPARL).read_bytes())
    site.always[EUROPARL] = Mood(cut=True)
    refused(prepare(wmt14(site)), "cannot fetch all of", EUROPARL, "the same command goes on where it was cut")
    assert left(folder) == ["wmt14/archives/training-parallel-europarl-v7.tgz.part"]
    del site.always[EUROPARL], site.log[:]
    said = prepare(wmt14(site))
    assert said.code == 0, said.err
    assert site.spans(EUROPARL) == [f"bytes={size // 2}-"]
    assert site.sent(EUROPARL) == size - size // 2
    assert_text(folder, found)


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
def test_an_archive_with_the_right_check_sum_and_wrong_insides_is_refused(site, prepare, folder, case):
    content, *words = BAD_ARCHIVES[case]
    site.put(EUROPARL, content)
    refused(prepare(wmt14(site)), "data/wmt14/archives/training-parallel-europarl-v7.tgz", *words)
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
    for name in ("train.de.part", "newstest2013.en.part"):
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
        sources.copy_members(tmp_path / "archive", outputs)
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
    assert len(large) > 2 * sources.BLOCK
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


# ---- mirrors of the archives -----------------------------------------------------------------------------------------


def flat(statmt: dict[str, bytes], folder: Path) -> Path:
    """A folder with the archives side by side."""
    folder.mkdir()
    for path, content in statmt.items():
        (folder / PurePosixPath(path).name).write_bytes(content)
    return folder


def test_a_folder_with_the_archives_is_read_where_it_is(site, prepare, folder, tmp_path, statmt, found):
    mirror = flat(statmt, tmp_path / "mirror")
    said = prepare(wmt14(site), f"data.mirror={mirror}")
    assert said.code == 0, said.err
    assert site.log == []
    assert_text(folder, found)
    assert left(folder / "wmt14") == sorted(TEXTS)
    assert {name: (mirror / name).read_bytes() for name in left(mirror)} == {
        PurePosixPath(path).name: content for path, content in statmt.items()
    }


def test_a_damaged_archive_in_a_folder_is_refused_and_left_alone(site, prepare, folder, tmp_path, statmt):
    mirror = flat(statmt, tmp_path / "mirror")
    path = mirror / "training-parallel-nc-v9.tgz"
    for damaged, word in ((bytes(len(path.read_bytes())), "sha256"), (path.read_bytes()[:-1], "bytes, not")):
        path.write_bytes(damaged)
        refused(prepare(wmt14(site), f"data.mirror={mirror}"), str(path), word, "not the file that was meant")
        assert path.read_bytes() == damaged
        assert left(folder) == []


def test_an_archive_that_a_folder_does_not_have_is_one_line(site, prepare, folder, tmp_path, statmt):
    mirror = flat(statmt, tmp_path / "mirror")
    (mirror / "dev.tgz").unlink()
    refused(prepare(wmt14(site), f"data.mirror={mirror}"), f"the mirror {mirror} has no dev.tgz")
    assert left(folder) == ["wmt14/train.de", "wmt14/train.en"]  # whole, and of use to the next command


def test_an_address_with_the_archives_is_asked_instead_of_their_own(site, prepare, folder, statmt, found):
    cfg = wmt14(site)
    for path, content in statmt.items():
        site.put(f"mirror/{PurePosixPath(path).name}", content)
        (site.root / path).unlink()
    said = prepare(cfg, f"data.mirror={site.address}/mirror/")
    assert said.code == 0, said.err
    assert_text(folder, found)
    assert sorted(a.path for a in site.log if a.method == "GET") == sorted(f"mirror/{name}" for name in NAMES)


@pytest.mark.parametrize("mirror", ["nowhere", "nowhere/at/all", "ftp://127.0.0.1/x"])
def test_a_mirror_that_is_neither_folder_nor_address_is_one_line(site, prepare, folder, mirror):
    refused(prepare(wmt14(site), f"data.mirror={mirror}"), "data.mirror must be an address or a folder", mirror)
    assert site.log == []
    assert not folder.exists()


def test_a_mirror_that_does_not_answer_is_one_line(site, prepare, folder, tmp_path):
    with serve(tmp_path / "closed") as gone:
        pass
    refused(prepare(wmt14(site), f"data.mirror={gone.address}"), f"data.mirror={gone.address} does not answer")
    site.always["de-en/train-00000-of-00003.parquet"] = Mood(foreign=True)
    refused(prepare(wmt14(site), f"data.mirror={site.address}"), f"data.mirror={site.address} does not answer")
    assert not folder.exists()


# ---- the Parquet files of Hugging Face -------------------------------------------------------------------------------


def parquet(rows: Iterable[dict[str, Any]], **more: Any) -> bytes:
    """A file of the data set wmt/wmt14: one column, a struct with a string a language."""
    kind = pa.struct([("de", pa.string()), ("en", pa.string())])
    buffer = io.BytesIO()
    pq.write_table(pa.table({"translation": pa.array(list(rows), type=kind)}), buffer, row_group_size=100, **more)
    return buffer.getvalue()


@pytest.fixture
def hugging_face(found) -> dict[str, bytes]:
    """Path in the data set -> file. One sentence has line ends inside."""
    rows = {
        name: [{"de": de, "en": en} for de, en in zip(sides["de"], sides["en"], strict=True)]
        for name, sides in found.items()
    }
    first = rows["europarl-v7"][0]
    rows["europarl-v7"][0] = {"de": first["de"].replace(" ", "\n", 1), "en": first["en"].replace(" ", "\r\n", 1)}
    parts = {f"train-0000{n}-of-00003": rows[name] for n, name in enumerate(TRAIN)}
    parts |= {"validation-00000-of-00001": rows["newstest2013"], "test-00000-of-00001": rows["newstest2014"]}
    return {f"de-en/{name}.parquet": parquet(some) for name, some in parts.items()}


def data_set(files: dict[str, bytes], folder: Path) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_a_folder_with_parquet_files_gives_the_same_text(site, prepare, folder, tmp_path, hugging_face, found):
    mirror = data_set(hugging_face, tmp_path / "mirror")
    said = prepare(wmt14(site), f"data.mirror={mirror}")
    assert said.code == 0, said.err
    assert "train-00000-of-00003.parquet, train-00001-of-00003.parquet" in said.err
    assert "up to 0.0 GB of disk" in said.err
    assert_text(folder, found)
    assert left(folder / "wmt14") == sorted(TEXTS)
    assert site.log == []


def test_an_address_with_parquet_files_gives_the_same_text(site, prepare, folder, hugging_face, found):
    for path, content in hugging_face.items():
        site.put(f"wmt14/resolve/main/{path}", content)
    said = prepare(wmt14(site), f"data.mirror={site.address}/wmt14/resolve/main")
    assert said.code == 0, said.err
    assert_text(folder, found)
    asked = sorted(asked.path.removeprefix("wmt14/resolve/main/") for asked in site.log if asked.method == "GET")
    assert asked == sorted(hugging_face)


def test_a_sentence_that_is_missing_becomes_an_empty_line(tmp_path):
    rows = [{"de": "eins", "en": "one"}, {"de": None, "en": "two"}, {"de": "drei", "en": ""}]
    (tmp_path / "a.parquet").write_bytes(parquet(rows))
    with open(tmp_path / "en", "wb") as en, open(tmp_path / "de", "wb") as de:
        sources._copy_columns([tmp_path / "a.parquet"], {"en": en, "de": de}, 3)
    assert (tmp_path / "en").read_bytes() == b"one\ntwo\n\n"
    assert (tmp_path / "de").read_bytes() == b"eins\n\ndrei\n"


FIRST = "de-en/train-00000-of-00003.parquet"


def other_column() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["one"]}), buffer)
    return buffer.getvalue()


def no_struct() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"translation": ["one"]}), buffer)
    return buffer.getvalue()


def other_language() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"translation": [{"en": "one", "fr": "un"}]}), buffer)
    return buffer.getvalue()


BAD_PARQUET: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda content: content[: len(content) // 2], "cannot read"),
    "empty": (lambda _: b"", "cannot read"),
    "damaged": (lambda content: content[:200] + bytes(1_000) + content[1_200:], "cannot read"),
    "another column": (lambda _: other_column(), "cannot read"),
    "no struct": (lambda _: no_struct(), "cannot read"),
    "another language": (lambda _: other_language(), "cannot read"),
    "fewer pairs": (
        lambda _: parquet([{"de": "eins", "en": "one"}]),
        f"has {sum(COUNTS[name] for name in TRAIN) - COUNTS[TRAIN[0]] + 1} pairs, not 900",
    ),
}


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_parquet_files_that_are_not_what_was_meant_are_refused(site, prepare, folder, tmp_path, hugging_face, case):
    change, word = BAD_PARQUET[case]
    hugging_face[FIRST] = change(hugging_face[FIRST])
    mirror = data_set(hugging_face, tmp_path / "mirror")
    refused(prepare(wmt14(site), f"data.mirror={mirror}"), word, "de-en")
    assert left(folder) == []


def test_a_parquet_file_that_came_damaged_says_what_to_remove(site, prepare, folder, hugging_face, found):
    for path, content in hugging_face.items():
        site.put(path, content)
    site.put(FIRST, hugging_face[FIRST][:-100])
    said = prepare(wmt14(site), f"data.mirror={site.address}")
    path = "data/wmt14/archives/train-00000-of-00003.parquet"
    refused(said, f"cannot read {path}", "remove it to fetch it again")
    assert no_text(folder)
    (folder.parent / path).unlink()
    site.put(FIRST, hugging_face[FIRST])
    assert prepare(wmt14(site), f"data.mirror={site.address}").code == 0
    assert_text(folder, found)


def test_parquet_without_pyarrow_is_one_line_that_names_the_extra(
    site, prepare, folder, tmp_path, hugging_face, monkeypatch
):
    mirror = data_set(hugging_face, tmp_path / "mirror")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    refused(prepare(wmt14(site), f"data.mirror={mirror}"), "pip install 'rope-mt[parquet]'")
    assert left(folder) == []


# ---- text that lies gzipped on a site, without archives --------------------------------------------------------------


@pytest.fixture
def gzipped(tmp_path, site) -> DataConfig:
    """A corpus that is fetched side by side: no size, no check sum."""
    for lang in ("en", "de"):
        site.put(f"raw/train.{lang}.gz", gzip.compress(plain(f"{lang} {n}" for n in range(200))))
    prefix = str(tmp_path / "fetched" / "train")
    return DataConfig("files", prefix, prefix, prefix, origin=f"{site.address}/raw", dir=str(tmp_path / "data"))


def test_missing_text_is_fetched_once_from_where_the_corpus_says(gzipped, site, tmp_path, capsys):
    made = corpus.locate(gzipped)
    assert gzip.decompress(made.train[0][0].read_bytes()).startswith(b"en 0\nen 1\n")
    assert capsys.readouterr().err.count("fetching") == 2
    corpus.locate(gzipped)
    assert capsys.readouterr().err == ""
    assert len(site.log) == 2


def test_text_that_cannot_be_fetched_is_one_clear_line_and_leaves_nothing(gzipped, site, tmp_path):
    (site.root / "raw" / "train.en.gz").unlink()
    with pytest.raises(UserError, match=r"^cannot fetch .*train\.en\.gz .*404.*put train\.en\.gz into .*fetched, or"):
        corpus.locate(gzipped)
    assert left(tmp_path / "fetched") == []


def test_a_mirror_takes_the_place_of_the_origin(gzipped, site):
    gzipped.mirror, gzipped.origin = gzipped.origin, "http://127.0.0.1:1/nobody"
    assert corpus.locate(gzipped).train
    assert [asked.path for asked in site.log] == ["raw/train.en.gz", "raw/train.de.gz"]
