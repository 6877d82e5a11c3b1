"""The same text from elsewhere: a folder or address with the archives, or the Parquet files of Hugging Face."""

import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rope_mt.data import archives

from .archive_site import (
    COUNTS,
    TRAIN,
    Mood,
    refused_in_code,
    serve,
    wmt14,
)
from .wmt14_site import NAMES, TEXTS, assert_text, left, no_text, refused

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
    assert "takes up to 10.0 MB of disk" in said.err
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
        archives.copy_columns([tmp_path / "a.parquet"], {"en": en, "de": de}, 3)
    assert (tmp_path / "en").read_bytes() == b"one\ntwo\n\n"
    assert (tmp_path / "de").read_bytes() == b"eins\n\ndrei\n"


FIRST = "de-en/train-00000-of-00003.parquet"


def other_column() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["one"]}), buffer)
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
    "another language": (lambda _: other_language(), "cannot read"),
    "fewer pairs": (
        lambda _: parquet([{"de": "eins", "en": "one"}]),
        f"has {sum(COUNTS[name] for name in TRAIN) - COUNTS[TRAIN[0]] + 1} pairs, not 900",
    ),
}


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_parquet_files_that_are_not_what_was_meant_are_refused(site, folder, tmp_path, hugging_face, case):
    change, word = BAD_PARQUET[case]
    hugging_face[FIRST] = change(hugging_face[FIRST])
    cfg = wmt14(site)
    cfg.mirror = str(data_set(hugging_face, tmp_path / "mirror"))
    refused_in_code(cfg, folder, word, "de-en")
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
