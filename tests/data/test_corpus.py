"""prepare: what is kept and dropped, what is refused, and that it is done once."""

import gzip
import http.server
import itertools
import threading
from pathlib import Path

import pytest

from rope_mt.config import DataConfig
from rope_mt.data import corpus
from rope_mt.errors import UserError

ENGLISH = [f"The {n} old dogs see the {n + 1} cats ." for n in range(200)]
GERMAN = [f"Die {n} alten Hunde sehen die {n + 1} Katzen ." for n in range(200)]


def write(prefix: Path, english: list[str], german: list[str]) -> str:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for lang, lines in (("en", english), ("de", german)):
        Path(f"{prefix}.{lang}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(prefix)


@pytest.fixture
def cfg(tmp_path) -> DataConfig:
    train = write(tmp_path / "text" / "train", ENGLISH, GERMAN)
    valid = write(tmp_path / "text" / "valid", ENGLISH[:3], GERMAN[:3])
    return DataConfig("files", train, valid, valid, vocab_size=320, dir=str(tmp_path / "data"))


def test_ids_on_disk_are_the_normalised_text(cfg):
    prepared = corpus.prepare(cfg)
    tokenizer = prepared.tokenizer()
    for side, text in (("src", ENGLISH), ("tgt", GERMAN)):
        ids, offsets = prepared.side(side)
        sentences = [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]
        assert tokenizer.decode(sentences) == text
        assert prepared.meta["tokens"][side] == len(ids)


def test_a_second_prepare_finds_its_work_done_and_other_settings_make_another_folder(cfg):
    first = corpus.prepare(cfg)
    written = (first.folder / "meta.json").stat().st_mtime_ns
    assert corpus.prepare(cfg).folder == first.folder
    assert (first.folder / "meta.json").stat().st_mtime_ns == written
    cfg.vocab_size = 330
    assert corpus.prepare(cfg).folder != first.folder


def test_empty_and_broken_lines_are_dropped_and_counted(cfg, tmp_path):
    many = 3000
    english = [*ENGLISH * 15, "", "   ", "kept"]
    german = [*GERMAN * 15, "leer", "leer", ""]
    prefix = write(tmp_path / "text" / "odd", english, german)
    with open(f"{prefix}.en", "ab") as en, open(f"{prefix}.de", "ab") as de:
        en.write(b"br\xffken\n")
        de.write(b"kaputt\n")
    cfg.train = [prefix]
    meta = corpus.prepare(cfg).meta
    assert meta["read"] == many + 4
    assert meta["kept"] == many
    assert meta["dropped"] == {"empty": 3, "not UTF-8": 1}


def test_more_than_one_broken_line_in_a_thousand_is_refused_and_leaves_nothing(cfg, tmp_path):
    with open(f"{cfg.train[0]}.de", "ab") as de, open(f"{cfg.train[0]}.en", "ab") as en:
        de.write(b"\xff\n")
        en.write(b"x\n")
    with pytest.raises(UserError, match="1 of 201 training lines are not UTF-8"):
        corpus.prepare(cfg)
    assert not list((tmp_path / "data").iterdir())


def test_a_broken_test_set_is_refused_before_anything_is_made(cfg, tmp_path):
    cfg.test = [write(tmp_path / "text" / "test", ENGLISH[:3], GERMAN[:2])]
    with pytest.raises(UserError, match="has 3 lines"):
        corpus.prepare(cfg)
    assert not (tmp_path / "data").exists()


def test_text_without_a_pair_is_refused(cfg, tmp_path):
    cfg.train = [write(tmp_path / "text" / "empty", ["", ""], ["a", "b"])]
    with pytest.raises(UserError, match="no pair to train on"):
        corpus.prepare(cfg)


def test_a_folder_that_cannot_be_written_is_one_clear_line(cfg, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write"):
        corpus.prepare(cfg)


class Site(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def site(tmp_path):
    """A web site of gzipped text on the loopback address."""
    root = tmp_path / "site"
    root.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Site(*a, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_missing_text_is_fetched_once_from_where_the_corpus_says(cfg, site, tmp_path, capsys):
    root, address = site
    for lang, lines in (("en", ENGLISH), ("de", GERMAN)):
        (root / f"train.{lang}.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    cfg.origin, cfg.train = address, [str(tmp_path / "fetched" / "train")]
    assert corpus.prepare(cfg).meta["kept"] == 200
    assert capsys.readouterr().out.count("fetching") == 2
    corpus.locate(cfg)
    assert "fetching" not in capsys.readouterr().out


def test_text_that_cannot_be_fetched_is_one_clear_line_and_leaves_nothing(cfg, site, tmp_path):
    _, address = site
    cfg.origin, cfg.train = address, [str(tmp_path / "fetched" / "train")]
    with pytest.raises(UserError, match=r"cannot fetch .*train\.en\.gz .*404.*put train\.en\.gz into"):
        corpus.locate(cfg)
    assert not (tmp_path / "fetched").exists()
