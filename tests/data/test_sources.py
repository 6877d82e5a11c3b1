"""WMT14 from its archives: what becomes text, on the way from the site to a scored run."""

import gzip
import shutil
import subprocess
from typing import Any

import pytest
from omegaconf import OmegaConf

from rope_mt.config.data import DataConfig
from rope_mt.data import corpus
from rope_mt.errors import UserError

from .archive_site import (
    COMMON_CRAWL,
    DEV,
    EUROPARL,
    FRENCH,
    TEST,
    Mood,
    config,
    plain,
    wmt14,
)
from .wmt14_site import ARCHIVES, NAMES, TEXTS, assert_text, chosen, command, expected, left, refused

SHORT = ["trainer.max_steps=3", "trainer.val_every=3", "trainer.val_sentences=4", "optimizer.warmup_steps=2"]
SHORT += ["data.batch_tokens=2048", "data.max_len=200", "search=greedy", "search.max_len_a=0.2", "tracking=none"]


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


def test_a_test_set_takes_no_archive_but_its_own(site, folder):
    [(source, target)] = corpus.find(config(wmt14(site), folder), "test")
    assert (source.name, target.name) == ("newstest2014.en", "newstest2014.de")
    assert [asked.path for asked in site.log] == [TEST]


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
    from rope_mt.config.files import conf_dir

    cfg = OmegaConf.load(conf_dir() / "data" / "wmt14.yaml")
    said = prepare(cfg, f"data.mirror={site.address}/nothing", "data.disk=0.25")
    refused(said, "cannot fetch", "/nothing/training-parallel-europarl-v7.tgz", "404")
    before = said.err[: said.err.index("fetching")]
    for word in (
        "data=wmt14 is not all there",
        "training-parallel-europarl-v7.tgz (658 MB)",
        "training-parallel-commoncrawl.tgz (918 MB)",
        "training-parallel-nc-v9.tgz (80 MB), dev.tgz (39 MB), test-full.tgz",
        "takes up to 250.0 MB of disk",
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


def test_a_folder_is_a_mirror_too(gzipped, site, tmp_path):
    gzipped.mirror = f"{site.root}/raw/"
    made = corpus.locate(gzipped)
    assert gzip.decompress(made.train[0][0].read_bytes()).startswith(b"en 0\nen 1\n")
    assert site.log == []
    for file in (tmp_path / "fetched").iterdir():
        file.unlink()
    (site.root / "raw" / "train.de.gz").unlink()
    with pytest.raises(UserError, match=rf"^the mirror {site.root}/raw has no train\.de\.gz$"):
        corpus.locate(gzipped)
    gzipped.mirror = "nowhere"
    with pytest.raises(UserError, match=r"^data\.mirror must be an address or a folder, .* nowhere$"):
        corpus.locate(gzipped)
