"""Which files a prefix means, how lines are read, and what is refused."""

import itertools
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rope_mt.data import text
from rope_mt.errors import UserError

from .small_text import PACKERS


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(PACKERS.get(path.suffix, bytes)(content))
    return path


def test_a_glob_means_all_its_prefixes_in_order_and_takes_each_text_once(tmp_path):
    for name in ("a.en", "a.en.gz", "a.de", "a.de.xz", "b.en.xz", "b.en.gz", "b.de", "c.en-de.en.xz", "c.en-de.de.gz"):
        write(tmp_path / name, b"x\n")
    files = text.pairs_of_files([str(tmp_path / "*")], "en", "de")
    names = [(src.name, tgt.name) for src, tgt in files]
    assert names == [("a.en", "a.de"), ("b.en.gz", "b.de"), ("c.en-de.en.xz", "c.en-de.de.gz")]


def test_signs_of_a_glob_in_the_name_of_a_file_are_a_name(tmp_path):
    folder = tmp_path / "news [v2]*"
    folder.mkdir()
    files = [(write(folder / "a?.en", b"x\n"), write(folder / "a?.de.gz", b"x\n"))]
    write(folder / "ab.en", b"x\n")
    assert text.pairs_of_files([str(folder / "a?")], "en", "de") == files
    for missing, name in (("ab.de", "ab"), ("none.en", "none")):
        with pytest.raises(UserError, match=rf"no such text: .*{missing}"):
            text.pairs_of_files([str(folder / name)], "en", "de")


@pytest.mark.parametrize(("ours", "theirs"), [(3, 5), (5, 3), (0, 2)])
def test_unequal_line_counts_are_both_named(tmp_path, ours, theirs):
    files = [(write(tmp_path / "a.en", b"x\n" * ours), write(tmp_path / "a.de", b"y\n" * theirs))]
    with pytest.raises(UserError, match=rf"has {ours} lines.*has {theirs}:"):
        text.read_test_set(files)


@pytest.mark.parametrize("side", ["en", "de"])
@pytest.mark.parametrize("line", [b"br\xffken", b"\xed\xa0\x80", b"cut \xf0\x9f"])
def test_invalid_utf8_in_a_test_set_is_refused_with_file_and_line(tmp_path, side, line):
    lines = {"en": b"fine", "de": b"fine", side: line}
    files = [write(tmp_path / f"a.{lang}", b"\xef\xbb\xbf\xe2\x80\xa8\n\r\n" + lines[lang]) for lang in ("en", "de")]
    with pytest.raises(UserError, match=rf"a\.{side}, line 3, is not UTF-8"):
        text.read_test_set([(files[0], files[1])])


def test_an_empty_test_set_and_a_damaged_archive_are_refused(tmp_path):
    empty = [(write(tmp_path / "a.en", b""), write(tmp_path / "a.de", b""))]
    with pytest.raises(UserError, match="no line"):
        text.read_test_set(empty)
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory$"):
        list(text.lines(tmp_path))
    for suffix in (".gz", ".xz"):
        whole = write(tmp_path / f"b.en{suffix}", b"many words " * 1000).read_bytes()
        (tmp_path / f"b.en{suffix}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=r"cannot read .*b\.en"):
            list(text.lines(tmp_path / f"b.en{suffix}"))


@pytest.mark.parametrize("suffix", text.SUFFIXES)
def test_files_longer_than_a_block_are_hashed_whole(tmp_path, suffix):
    content = b"a line of some words\n" * 110_000 + b"last"
    path, other = write(tmp_path / f"a.en{suffix}", content), write(tmp_path / "a.de", b"x")
    assert len(content) > 2 << 20
    whole = text.fingerprint([(path, other)])
    for place in (10, 1 << 20, len(content) - 2):
        changed = content[:place] + b"#" + content[place + 1 :]
        assert text.fingerprint([(write(tmp_path / f"a.en{suffix}", changed), other)]) != whole


def pair(folder: Path, src: bytes, tgt: bytes, docs: bytes | None = None, suffix: str = "") -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    if docs is not None:
        write(folder / f"a.docs{suffix}", docs)
    return write(folder / f"a.en{suffix}", src), write(folder / f"a.de{suffix}", tgt)


@pytest.mark.parametrize("docs", [None, b"1\t1\n"])
def test_the_fingerprint_is_of_the_text_and_not_of_its_wrapping_or_place(tmp_path, docs):
    sides = b"x\nz\n", b"y\r\nw", docs
    files = [pair(tmp_path / "packed" / suffix, *sides, suffix) for suffix in text.SUFFIXES]
    assert len({text.fingerprint([each]) for each in files}) == 1


def test_the_fingerprint_depends_on_every_byte_and_on_the_file_that_it_is_in_and_on_the_order_of_files(tmp_path):
    src, tgt, docs = b"x\nz\n", b"y\nw\n", b"1\t1\n"
    variants = [(src, tgt, docs), (src, tgt, None), (src, tgt, b""), (tgt, src, docs), (src + tgt, b"", docs)]
    variants += [(b"", src + tgt, docs), (src, tgt + docs, None), (src[:-1], tgt, docs), (src, b"y\r\nw\r\n", docs)]
    for place, part in itertools.product(range(4), range(3)):
        sides = [bytearray(side) for side in (src, tgt, docs)]
        sides[part][place] += 1
        variants.append(tuple(map(bytes, sides)))
    files = [[pair(tmp_path / str(n), *variant)] for n, variant in enumerate(variants)]
    one, two = pair(tmp_path / "one", b"a\n", b"b\n"), pair(tmp_path / "two", b"c\n", b"d\n")
    joined = pair(tmp_path / "joined", b"a\nc\n", b"b\nd\n")
    files += [[], [one], [two], [one, two], [two, one], [one, one], [one, two, one], [joined]]
    assert len({text.fingerprint(each) for each in files}) == len(files)


@pytest.mark.parametrize("packing", [("", ".gz"), (".gz", ".xz"), (".xz", ".xz"), (".gz", "")])
def test_the_docs_file_of_a_text_lies_beside_it_however_both_are_packed(tmp_path, packing):
    source = write(tmp_path / f"v1.2.en-de.en{packing[0]}", b"x\n")
    assert text.documents(source) is None
    marks = write(tmp_path / f"v1.2.en-de.docs{packing[1]}", b"1\t3\tfirst\n4\t2\n9\t1\tfar\taway\n")
    assert text.documents(source) == marks
    assert text.first_lines(marks) == {0, 3, 5, 8, 9}
    assert text.first_lines(write(tmp_path / "empty.docs", b"")) == set()


def test_a_malformed_line_of_a_docs_file_is_named(tmp_path):
    for line in (b"", b"7", b"one\ttwo", b"1 2", b"\t", b"1\t", b"0\t5", b"-1\t5", b"3\t-1", b"\xff\t1"):
        marks = write(tmp_path / "a.docs", b"1\t3\tfine\n" + line + b"\n")
        with pytest.raises(UserError, match=r"a\.docs, line 2, is not FIRST LINE, TAB, NUMBER OF LINES$"):
            text.first_lines(marks)


MANY = st.text(st.sampled_from("a \u3000\u03a9\u0301\u0314\u0316\u0342\u0345\u1112\u1161\u11ab"), max_size=60)


@given(line=MANY, most=st.integers(1, 12))
@example(line="\u03a9\u0314\u0342\u0345" * 12, most=12)  # each four make one character
def test_a_line_is_looked_at_only_as_far_as_shows_that_it_is_too_long(line, most):
    whole = text.normalize(line)
    with pytest.MonkeyPatch.context() as patch:
        looked_at = []
        honest = unicodedata.normalize
        patch.setattr(unicodedata, "normalize", lambda form, part: looked_at.append(len(part)) or honest(form, part))
        part = text.normalize(line, most)
    assert looked_at[0] <= 4 * (most + 1)
    if len(whole) <= most:
        assert part == whole
    else:
        assert len(part) > most


def test_what_is_shown_of_a_line_is_short_and_moves_no_cursor():
    assert text.printable("Größe 🐶 שלום") == "Größe 🐶 שלום"
    assert text.printable("a\rb\u2028c\x1b[31md\x07\0\x9b") == "a b c\ufffd[31md\ufffd\ufffd\ufffd"
    assert text.printable("x" * 2_000_000) == "x" * 500 + "…"
    assert text.printable("x" * 500) == "x" * 500
