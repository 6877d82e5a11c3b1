"""Own text: every form is the same text, held-out pairs are apart from the others, and the sizes can be made."""

import gzip
import json
import lzma
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rope_mt.config.data import ArchiveConfig, DataConfig
from rope_mt.data import own, text, toy
from rope_mt.data.corpus import locate
from rope_mt.data.tokenizer import train_tokenizer
from rope_mt.errors import UserError

from .archive_site import files_below
from .small_text import ENGLISH, GERMAN, documents, parquet, write

PAIRS = [*zip(ENGLISH, GERMAN, strict=True)]
TOY = toy.generate(n_train=1000, n_valid=1, n_test=1)
ARCHIVE = ArchiveConfig("data/files/train", "http://localhost/a.tgz", {"en": "a", "de": "b"}, f"md5:{'0' * 32}")
TSV = "".join(f"{en}\t{de}\n" for en, de in PAIRS).encode()


def config(tmp_path: Path, *train: str, **settings: Any) -> DataConfig:
    return DataConfig("files", [*train], **{"valid": None, "dir": str(tmp_path / "data"), **settings})


FORMS = {
    "my.tsv": TSV,
    "my.txt.gz": gzip.compress(TSV),
    "my.xz": lzma.compress(b"\xef\xbb\xbf" + TSV.replace(b"\n", b"\r\n") + b"\n"),
    "flat.parquet": parquet(en=ENGLISH, de=GERMAN, more=ENGLISH),
    "other.parquet": parquet(en=ENGLISH, de=GERMAN, translation=ENGLISH),
    "nested.parquet": parquet(translation=[{"de": de, "en": en} for en, de in PAIRS]),
}


@pytest.mark.parametrize("form", [*FORMS, "prefix", "prefix.en", "prefix.de.gz", "prefix.*", "*.tsv", "two"])
def test_every_form_of_a_text_is_the_same_text(here, form):
    names, columns = [form], [1, 2]
    if form in FORMS:
        Path(form).write_bytes(FORMS[form])
    elif form.startswith("prefix"):
        write(Path("prefix"), ENGLISH, GERMAN, ".gz" if form.endswith(".gz") else "")
    elif form == "two":
        Path("a").write_bytes("".join(f"1\t{de}\tx\t{en}\n" for en, de in PAIRS[:50]).encode())
        names, columns = ["a", write(Path("b"), ENGLISH[50:], GERMAN[50:])], [4, 2]
    else:
        Path("1.tsv").write_bytes(TSV[: TSV.index(b"\n") + 1])
        Path("2.tsv").write_bytes(TSV[TSV.index(b"\n") + 1 :])
    made = locate(config(here, *names, valid=names, test=names, columns=columns))
    for files in (made.train, made.valid, made.test):
        assert [*zip(*text.read_test_set(files), strict=True)] == PAIRS
    assert made.chosen == {}
    assert locate(made.cfg) == made


def test_a_data_set_at_hugging_face_is_fetched_once_by_its_name(tmp_path, site, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", site.address)
    parts = (parquet(en=ENGLISH[:120], de=GERMAN[:120]), parquet(en=ENGLISH[120:], de=GERMAN[120:]))
    urls = [site.put(f"{n}.parquet", part) for n, part in enumerate(parts)]
    site.put("api/datasets/owner/name/parquet/de-en/train", json.dumps(urls).encode())
    name = "hf:owner/name/de-en/train"
    cfg = config(tmp_path, name, valid=name, test=name)
    made = locate(cfg)
    assert [*zip(*text.read_test_set(made.train), strict=True)] == PAIRS
    assert locate(cfg) == made
    assert len(site.log) == 3
    assert capsys.readouterr().err.count("fetching") == 2
    with pytest.raises(UserError, match=r"^cannot find .*/owner/name/parquet/de-en/tset \(.*404.*SUBSET/SPLIT"):
        own.plain(["hf:owner/name/de-en/tset"], cfg)
    with pytest.raises(UserError, match=r"^hf:wmt14 does not name a part .* write hf:OWNER/NAME/SUBSET/SPLIT"):
        own.plain(["hf:wmt14"], cfg)
    assert {Path(path).suffix for path in files_below(tmp_path / "data")} == {".en", ".de"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("my.tvs", b"", r"^no such text: my\.tvs; did you mean my\.tsv\?$"),
        ("dir.tsv", b"", r"^dir\.tsv is no file: give FILE\.tsv "),
        ("pipe", b"", "^pipe is no file: give FILE"),
        ("dir.tsw", b"", r"^no such text: dir\.tsw; give FILE\.tsv"),
        ("nowhere", b"", r"^no such text: nowhere; give FILE\.tsv .*, or PREFIX for PREFIX\.en and PREFIX\.de$"),
        ("half", b"", r"^no such text: half\.de, the other side of half\.en; data\.src_lang and data\.tgt_lang name"),
        ("half.en", b"", r"^no such text: half\.de, the other side of half\.en"),
        ("bad.tsv", b"a\tb\nc,d\n", r"^bad\.tsv, line 2, has no column 2 behind a tab: .* \(data\.columns\)$"),
        ("blank.tsv", b"\n\n", r"^blank\.tsv has no line: give FILE"),
        ("few.tsv", b"a\tb\na\tc\nb\tc\n", "^3 pairs of 2 different source lines are too few to hold"),
        ("bad.parquet", b"PAR1", r"^cannot read bad\.parquet: "),
        ("numbers.parquet", parquet(en=[1, 2], de=GERMAN[:2]), r"^numbers\.parquet has no text in columns en and de"),
        ("one.parquet", parquet(translation=GERMAN), r"^one\.parquet has no text in columns en and de, nor in transl"),
    ],
)  # fmt: skip
def test_text_that_is_missing_or_broken_is_one_line_and_leaves_nothing(here, name, content, message):
    for path, what in (("my.tsv", TSV), ("half.en", b"one\n"), (name, content)):
        if what:
            Path(path).write_bytes(what)
    Path("dir.tsv").mkdir()
    os.mkfifo("pipe")
    with pytest.raises(UserError, match=message):
        locate(config(here, name))
    left = files_below(here / "data")
    assert left == ([] if name != "few.tsv" else left)
    assert not any("held-out" in str(path) for path in left)


def test_a_glob_means_prefixes_and_tables_but_no_marks_of_documents(here):
    documents(write(Path("a"), ENGLISH, GERMAN), (1, 10))
    Path("a.fr").write_bytes(b"une\n")
    Path("b.tsv").write_bytes(TSV)
    assert own.found("*", config(here, "*")) == ["a", Path("b.tsv")]


def test_data_sets_at_hugging_face_with_like_names_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "_made", lambda folder, fill: folder)
    names = ("hf:owner/news/en-de/train", "hf:owner/news-en/de/train")
    assert len({*own.plain([*names], config(tmp_path, *names))}) == 2


def test_a_site_that_names_no_file_is_refused(tmp_path, site, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", site.address)
    site.put("api/datasets/owner/name/parquet/de-en/train", b"[]")
    with pytest.raises(UserError, match=r"^cannot find .* \(the site names no file\)"):
        own.plain(["hf:owner/name/de-en/train"], config(tmp_path, "a"))
    assert files_below(tmp_path / "data") == []


@pytest.mark.parametrize("settings", [{"origin": "http://localhost"}, {"archives": [ARCHIVE]}])
def test_a_typo_beside_text_that_can_be_fetched_is_refused_at_once(here, settings):
    cfg = DataConfig("files", "data/files/train", "data/files/train", "mine/typo", dir="data", **settings)
    with pytest.raises(UserError, match=r"^no such text: mine/typo;"):
        own.require_text(cfg)


def test_a_document_that_is_most_of_the_text_is_not_held_out(tmp_path):
    prefix = write(tmp_path / "all", ENGLISH * 10, GERMAN * 10)
    documents(prefix, (1, 100), (101, 1300), (1401, 100), (1501, 500))
    made = locate(config(tmp_path, prefix, vocab_size=320, batch_tokens=1000))
    sizes = {part: text.size([getattr(made, part)[0][0]])[0] for part in own.PARTS}
    assert (sizes["valid"], sizes["test"]) == (100, 100)


@pytest.mark.parametrize("by", ["line", "document"])
def test_what_is_held_out_is_apart_from_the_training_text_and_the_same_again(tmp_path, by):
    english = [f"{line} {n // 2}" for n, line in enumerate(ENGLISH * 2)]
    english[7], english[30], english[31] = "\udcff", english[2], ""  # not UTF-8, a line again, nothing
    for n in range(100, 200):
        english[n] = (GERMAN * 2)[n]  # identical on both sides
    prefix = write(tmp_path / "all", english, GERMAN * 2)
    if by == "document":
        documents(prefix, *((first, 10) for first in range(1, 400, 10)))
    made = locate(config(tmp_path, prefix, vocab_size=320, batch_tokens=1000))
    parts = {part: [*text.aligned(*files[0])] for part, files in vars(made).items() if part in own.PARTS}
    assert made.fingerprints == {part: text.fingerprint(getattr(made, part)) for part in own.PARTS}
    assert len({*made.fingerprints.values()}) == 3
    pairs = [*text.aligned(*locate(config(tmp_path, prefix, valid=prefix, test=prefix)).train[0])]
    assert Counter(pair for part in parts.values() for pair in part) == Counter(pairs)
    assert f"by {by}, in" in made.chosen["held out"]
    assert [*made.chosen] == ["held out"]
    assert 20 <= len(parts["valid"]) < 40
    assert 20 <= len(parts["test"]) < 40
    text.read_test_set(made.valid)  # it is UTF-8
    sources = [{src for src, _ in part} for part in parts.values()]
    if by == "line":
        assert sum(map(len, sources)) == len(set.union(*sources))
    else:
        whole = [set(pairs[first : first + 10]) - {pairs[7], pairs[31]} for first in range(0, 400, 10)]
        assert all(any(document <= set(part) for part in parts.values()) for document in whole)
    for part, of_part in vars(made.cfg).items():  # a document has no gap, in what is left and in what is held out
        if part == "train" or (by == "document" and part in own.PARTS):
            firsts = text.first_lines(Path(f"{of_part[0]}.docs"))
            where = [pairs.index(pair) for pair in parts[part]]
            assert {n for n in range(1, len(where)) if where[n] != where[n - 1] + 1} <= firsts
        elif part in own.PARTS:
            assert text.documents(vars(made)[part][0][0]) is None
    other = {"vocab_size": 500, "batch_tokens": 900, "clean": "fairseq", "drop_identical": True}
    again = locate(config(tmp_path, prefix, **other, dir=str(tmp_path / "elsewhere")))
    assert again.fingerprints == made.fingerprints
    fewer = locate(config(tmp_path, prefix, vocab_size=320, batch_tokens=1000, held_out=3))
    assert 3 <= len([*text.aligned(*fewer.test[0])]) <= 13


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("n", [10, 100, 1000])
def test_sentencepiece_can_make_as_many_pieces_as_are_chosen(tmp_path, kind, n):
    chinese = [f"{chr(0x4E00 + i)}{chr(0x4F00 + i % 70)}了。" for i in range(n)]
    for name, tgt in (("german", [de for _, de in TOY.train[:n]]), ("chinese", chinese)):
        src = [en for en, _ in TOY.train[:n]]
        prefix = write(tmp_path / name, src, tgt)
        cfg = config(tmp_path, prefix, tokenizer=kind, vocab_size=0, batch_tokens=0)
        sizes, why = own.fitting(text.pairs_of_files([prefix], "en", "de"), cfg)
        train_tokenizer([*src, *tgt], sizes["vocab_size"], kind)
        assert f"data.vocab_size={sizes['vocab_size']} " in why
        assert sizes["batch_tokens"] == 2048


def test_sizes_grow_with_the_text_up_to_those_of_wmt14(tmp_path):
    chosen, letters = [], str.maketrans("0123456789", "abcdefghij")
    for n in (300, 30_000):
        lines = [f"{i} {i * i} {i * i * i} ".translate(letters) * 12 for i in range(n)]
        files = text.pairs_of_files([write(tmp_path / "grown", lines, lines)], "en", "de")
        chosen.append(own.fitting(files, config(tmp_path, "grown", vocab_size=0, batch_tokens=0))[0])
    small, large = chosen
    assert small["vocab_size"] < 1100 < 6000 < large["vocab_size"] < 7500
    assert small["batch_tokens"] == 2048
    assert large["batch_tokens"] == 25_000
