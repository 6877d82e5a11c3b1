"""Mirrors of WMT14, its archives or the Parquet files of Hugging Face: they give the same text, or one line."""

import sys
from pathlib import PurePosixPath

import pytest

from rope_mt.data import archives

from .archive_site import TEXTS, TRAIN, Mood, assert_text, files_below, has_no_text, locate, refused, serve, wmt14
from .small_text import parquet

FIRST = "de-en/train-00000-of-00003.parquet"


@pytest.fixture
def mirrors(site, statmt, packed_text) -> dict[str, dict[str, bytes]]:
    """Path below the mirror -> content, for a mirror of archives and one of Parquet files. Both lie on the server.

    In the first Parquet file one sentence has line ends inside.
    """
    rows = {
        name: [{"de": de, "en": en} for de, en in zip(sides["de"], sides["en"], strict=True)]
        for name, sides in packed_text.items()
    }
    first = rows["europarl-v7"][0]
    rows["europarl-v7"][0] = {"de": first["de"].replace(" ", "\n", 1), "en": first["en"].replace(" ", "\r\n", 1)}
    parts = {f"train-0000{n}-of-00003": rows[name] for n, name in enumerate(TRAIN)}
    parts |= {"validation-00000-of-00001": rows["newstest2013"], "test-00000-of-00001": rows["newstest2014"]}
    made = {
        "archives": {PurePosixPath(path).name: content for path, content in statmt.items()},
        "parquet": {f"de-en/{name}.parquet": parquet(translation=part) for name, part in parts.items()},
    }
    for kind, files in made.items():
        for path, content in files.items():
            site.put(f"{kind}/{path}", content)
    return made


@pytest.mark.parametrize("kind", ["archives", "parquet"])
@pytest.mark.parametrize("at", ["folder", "address"])
def test_a_mirror_gives_the_same_text(site, folder, mirrors, packed_text, capsys, kind, at):
    before = files_below(site.root)
    locate(wmt14(site, mirror=f"{site.root if at == 'folder' else site.address}/{kind}"), folder)
    assert_text(folder, packed_text)
    fetched = [asked.path.removeprefix(f"{kind}/") for asked in site.log if asked.method == "GET"]
    assert sorted(fetched) == ([] if at == "folder" else sorted(mirrors[kind]))
    archives = [f"archives/{PurePosixPath(name).name}" for name in fetched]
    assert files_below(folder / "wmt14") == sorted([*TEXTS, *archives])
    assert files_below(site.root) == before
    first, second, *_ = (PurePosixPath(path).name for path in mirrors["parquet"])
    assert (f"{first}, {second}" in capsys.readouterr().err) == (kind == "parquet")


ONE = [{"de": "eins", "en": "one"}]
TAKEN, NEWS = "not the file that was meant", "training-parallel-nc-v9.tgz"
BAD_MIRRORS = {  # path in the mirror, what becomes of its content, words of the message
    "other archive": (f"archives/{NEWS}", lambda content: bytes(len(content)), "sha256", TAKEN),
    "cut archive": (f"archives/{NEWS}", lambda content: content[:-1], "bytes, not", TAKEN),
    "no archive": (f"archives/{NEWS}", None, f"has no {NEWS}"),
    "cut": (f"parquet/{FIRST}", lambda content: content[:-100], "cannot read"),
    "empty": (f"parquet/{FIRST}", lambda _: b"", "cannot read"),
    "damaged": (f"parquet/{FIRST}", lambda content: content[:200] + bytes(1_000) + content[1_200:], "cannot read"),
    "another column": (f"parquet/{FIRST}", lambda _: parquet(text=["one"]), "cannot read"),
    "another language": (f"parquet/{FIRST}", lambda _: parquet(translation=[{"en": "1", "fr": "1"}]), "cannot read"),
    "fewer pairs": (f"parquet/{FIRST}", lambda _: parquet(translation=ONE), "has 201 pairs, not 300"),
}


@pytest.mark.parametrize("case", BAD_MIRRORS)
def test_a_file_of_a_mirror_that_is_not_what_was_meant_is_refused_and_left_alone(site, folder, mirrors, case):
    name, change, *words = BAD_MIRRORS[case]
    kind, _, path = name.partition("/")
    (site.root / name).unlink()
    if change:
        site.put(name, change(mirrors[kind][path]))
    before = files_below(site.root)
    refused(wmt14(site, mirror=f"{site.root}/{kind}"), folder, *words, f"{site.root}/{kind}")
    assert files_below(folder) == []
    assert files_below(site.root) == before


def test_a_fetched_parquet_file_that_is_damaged_says_what_to_remove(site, folder, mirrors, packed_text):
    cfg = wmt14(site, mirror=f"{site.address}/parquet")
    site.put(f"parquet/{FIRST}", mirrors["parquet"][FIRST][:-100])
    fetched = folder / "wmt14/archives/train-00000-of-00003.parquet"
    refused(cfg, folder, f"cannot read {fetched}", "remove it to fetch it again")
    assert has_no_text(folder)
    fetched.unlink()
    site.put(f"parquet/{FIRST}", mirrors["parquet"][FIRST])
    locate(cfg, folder)
    assert_text(folder, packed_text)


def test_parquet_without_pyarrow_is_one_line_that_names_the_extra(site, folder, mirrors, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    refused(wmt14(site, mirror=f"{site.root}/parquet"), folder, "pip install 'rope-mt[parquet]'")
    assert files_below(folder) == []


def test_a_sentence_that_is_missing_becomes_an_empty_line(tmp_path):
    rows = [{"de": "eins", "en": "one"}, {"de": None, "en": "two"}, {"de": "drei", "en": ""}]
    (tmp_path / "a.parquet").write_bytes(parquet(translation=rows))
    with open(tmp_path / "en", "wb") as en, open(tmp_path / "de", "wb") as de:
        archives.copy_columns([tmp_path / "a.parquet"], {"en": en, "de": de})
    assert (tmp_path / "en").read_bytes() == b"one\ntwo\n\n"
    assert (tmp_path / "de").read_bytes() == b"eins\n\ndrei\n"


def test_a_mirror_that_does_not_answer_or_is_neither_folder_nor_address_is_one_line(site, folder, tmp_path):
    with serve(tmp_path / "closed") as gone:
        pass
    refused(wmt14(site, mirror=gone.address), folder, f"data.mirror={gone.address} does not answer")
    site.always[FIRST] = Mood(foreign=True)
    refused(wmt14(site, mirror=site.address), folder, f"data.mirror={site.address} does not answer")
    site.log.clear()
    for name in ("nowhere/at/all", "ftp://127.0.0.1/x"):
        refused(wmt14(site, mirror=name), folder, "data.mirror must be an address or a folder", name)
    assert site.log == []
    assert not folder.exists()
