"""Which files a prefix means, how lines are read, and what is refused."""

import gzip
import lzma
from pathlib import Path

import pytest

from rope_mt.data import text
from rope_mt.errors import UserError


def write(path: Path, content: bytes) -> Path:
    packed = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(content)
    path.write_bytes(packed)
    return path


@pytest.mark.parametrize("suffix", text.SUFFIXES)
def test_a_prefix_means_two_files_however_they_are_packed(tmp_path, suffix):
    src = write(tmp_path / f"a.en{suffix}", b"one\ntwo\n")
    tgt = write(tmp_path / f"a.de{suffix}", b"eins\nzwei\n")
    files = text.pairs_of_files([str(tmp_path / "a")], "en", "de")
    assert files == [(src, tgt)]
    assert text.read_test_set(files) == (["one", "two"], ["eins", "zwei"])


def test_a_glob_means_all_its_prefixes_in_order(tmp_path):
    for name in ("b", "a.en-de", "c"):
        write(tmp_path / f"{name}.en.xz", b"x\n")
        write(tmp_path / f"{name}.de.gz", b"y\n")
    files = text.pairs_of_files([str(tmp_path / "*")], "en", "de")
    assert [src.name for src, _ in files] == ["a.en-de.en.xz", "b.en.xz", "c.en.xz"]
    assert [tgt.name for _, tgt in files] == ["a.en-de.de.gz", "b.de.gz", "c.de.gz"]


def test_a_missing_side_is_named(tmp_path):
    write(tmp_path / "a.en", b"x\n")
    with pytest.raises(UserError, match=r"no such text: .*a\.de"):
        text.pairs_of_files([str(tmp_path / "a")], "en", "de")
    with pytest.raises(UserError, match=r"no such text: .*b\.en"):
        text.pairs_of_files([str(tmp_path / "b")], "en", "de")


@pytest.mark.parametrize(("ours", "theirs"), [(3, 5), (5, 3), (0, 2)])
def test_unequal_line_counts_are_both_named(tmp_path, ours, theirs):
    files = [(write(tmp_path / "a.en", b"x\n" * ours), write(tmp_path / "a.de", b"y\n" * theirs))]
    with pytest.raises(UserError, match=rf"has {ours} lines.*has {theirs}:"):
        text.read_test_set(files)


def test_only_lf_ends_a_line_and_a_cr_before_it_goes(tmp_path):
    path = write(tmp_path / "a.en", "a\r\nb\u2028c\x0bd\re\n\nlast".encode())
    assert [line.decode() for line in text.lines(path)] == ["a", "b\u2028c\x0bd\re", "", "last"]


def test_invalid_utf8_in_a_test_set_is_refused_with_file_and_line(tmp_path):
    files = [(write(tmp_path / "a.en", b"fine\nbr\xffken\n"), write(tmp_path / "a.de", b"y\ny\n"))]
    with pytest.raises(UserError, match=r"a\.en, line 2, is not UTF-8"):
        text.read_test_set(files)


def test_an_empty_test_set_and_a_damaged_archive_are_refused(tmp_path):
    empty = [(write(tmp_path / "a.en", b""), write(tmp_path / "a.de", b""))]
    with pytest.raises(UserError, match="no line"):
        text.read_test_set(empty)
    for suffix in (".gz", ".xz"):
        whole = write(tmp_path / f"b.en{suffix}", b"many words " * 1000).read_bytes()
        (tmp_path / f"b.en{suffix}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=r"cannot read .*b\.en"):
            list(text.lines(tmp_path / f"b.en{suffix}"))


def test_the_fingerprint_is_of_the_text_and_not_of_its_wrapping(tmp_path):
    prints = set()
    for suffix in text.SUFFIXES:
        folder = tmp_path / f"packed{suffix}"
        folder.mkdir()
        pair = (write(folder / f"a.en{suffix}", b"x\nz\n"), write(folder / f"a.de{suffix}", b"y\r\nw"))
        prints.add(text.fingerprint([pair]))
    assert len(prints) == 1
    write(folder / "a.en.xz", b"x\nZ\n")
    assert text.fingerprint([pair]) not in prints


def test_normalize_composes_and_collapses():
    assert text.normalize("  Mu\u0308ller \t ist\u00a0da ") == "M\u00fcller ist da"
