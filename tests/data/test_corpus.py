"""locate: the text that a configuration names, its fingerprint, and text that is fetched without archives."""

import gzip
from types import SimpleNamespace

import pytest

from rope_mt.config.data import DataConfig
from rope_mt.data import text, toy
from rope_mt.data.corpus import locate
from rope_mt.errors import UserError

from .archive_site import files_below, plain


def test_the_toy_corpus_is_written_once_and_again_when_another_grammar_made_it(tmp_path, monkeypatch):
    made = []

    def generate():
        made.append({part: [(f"{part} {n}", f"{n} {part}") for n in range(3)] for part in ("train", "valid", "test")})
        return SimpleNamespace(**made[-1])

    monkeypatch.setattr(toy, "generate", generate)
    names = {part: str(tmp_path / "toy" / part) for part in ("train", "valid", "test")}
    cfg = DataConfig("toy", **names, origin="grammar", dir=str(tmp_path))
    first = locate(cfg)
    assert text.read_test_set(first.test) == (["test 0", "test 1", "test 2"], ["0 test", "1 test", "2 test"])
    assert locate(cfg) == first
    assert len(made) == 1
    [(path, _)] = first.train
    path.write_text("something else\n")
    (tmp_path / "toy" / "made-by").write_text("an older grammar")
    assert locate(cfg) == first
    path.unlink()
    assert locate(cfg) == first
    assert len(made) == 3


# ---- text that lies gzipped on a site, without archives --------------------------------------------------------------


@pytest.fixture
def gzipped(tmp_path, site) -> DataConfig:
    """A corpus that is fetched file by file: no size, no checksum."""
    for lang in ("en", "de"):
        site.put(f"raw/train.{lang}.gz", gzip.compress(plain(f"{lang} {n}" for n in range(200))))
    prefix = str(tmp_path / "data" / "files" / "train")
    return DataConfig("files", prefix, prefix, prefix, origin=f"{site.address}/raw", dir=str(tmp_path / "data"))


@pytest.mark.parametrize("mirrored", [False, True])
def test_missing_text_is_fetched_once_from_its_origin_or_a_mirror(gzipped, site, capsys, mirrored):
    if mirrored:
        gzipped.mirror, gzipped.origin = gzipped.origin, "http://127.0.0.1:1/nobody"
    made = locate(gzipped)
    assert gzip.decompress(made.train[0][0].read_bytes()).startswith(b"en 0\nen 1\n")
    assert capsys.readouterr().err.count("fetching") == 2
    locate(gzipped)
    assert capsys.readouterr().err == ""
    assert [asked.path for asked in site.log] == ["raw/train.en.gz", "raw/train.de.gz"]


def test_text_that_cannot_be_fetched_is_one_clear_line_and_leaves_nothing(gzipped, site, tmp_path):
    (site.root / "raw" / "train.en.gz").unlink()
    with pytest.raises(UserError, match=r"^cannot fetch .*train\.en\.gz .*404.*put train\.en\.gz into .*files, or"):
        locate(gzipped)
    assert files_below(tmp_path / "data" / "files") == []


def test_a_folder_is_a_mirror_too(gzipped, site, tmp_path):
    gzipped.mirror = f"{site.root}/raw"
    made = locate(gzipped)
    assert gzip.decompress(made.train[0][0].read_bytes()).startswith(b"en 0\nen 1\n")
    assert site.log == []
    (tmp_path / "data" / "files" / "train.de.gz").unlink()
    (site.root / "raw" / "train.de.gz").unlink()
    with pytest.raises(UserError, match=rf"^the mirror {site.root}/raw has no train\.de\.gz$"):
        locate(gzipped)
