"""prepare: what lies on disk in the end, what is refused, and which settings make another folder."""

import dataclasses
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rope_mt.config.data import DataConfig
from rope_mt.data import prepare as preparing
from rope_mt.data import text
from rope_mt.data.prepare import MAPS, prepare, report
from rope_mt.data.tokenizer import Tokenizer
from rope_mt.errors import UserError

from .small_text import ENGLISH, GERMAN, MODEL, PACKERS, SIDES, contents, documents, pairs, starts, write

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")


# ---- what lies on disk --------------------------------------------------------------------------------------------


def test_ids_on_disk_are_the_normalised_text(cfg, tmp_path):
    odd = ["  two  blanks ", "Mu\u0308ller", "日本語 \u2028 x", "tab\there"]
    cfg.train = [*cfg.train, write(tmp_path / "text" / "odd", odd, odd[::-1])]
    plain = ["two blanks", "M\u00fcller", "日本語 x", "tab here"]
    expected = list(zip([*ENGLISH, *plain], [*GERMAN, *plain[::-1]], strict=True))
    assert pairs(prepare(cfg)) == expected


def test_meta_counts_what_the_files_hold(cfg):
    prepared = prepare(cfg)
    meta = prepared.meta
    assert (meta["read"], meta["kept"], meta["dropped"]) == (200, 200, {})
    for side in SIDES:
        lengths = prepared.map(f"{side}.lengths")
        assert len(lengths) == meta["kept"]
        assert lengths.sum() == len(prepared.map(f"{side}.ids")) == meta["tokens"][side]
    assert len(prepared.map("begins")) == meta["kept"]
    assert len(prepared.tokenizer()) == cfg.vocab_size
    assert sorted(contents(prepared.folder)) == sorted([*MAPS, "meta.json", "sentencepiece.model"])


def test_a_folder_that_was_removed_in_part_is_not_mistaken_for_none(cfg):
    folder = prepare(cfg).folder
    (folder / "meta.json").unlink()
    with pytest.raises(UserError, match=rf"^{folder} is not all there: remove it"):
        prepare(cfg)
    shutil.rmtree(folder)
    folder.mkdir()  # empty: nobody's
    assert prepare(cfg).folder == folder


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory) -> tuple[DataConfig, Path]:
    folder = tmp_path_factory.mktemp("once")
    train = write(folder / "train", ENGLISH, GERMAN)
    cfg = DataConfig("files", train, train, train, vocab_size=310, dir=str(folder / "data"))
    return cfg, prepare(cfg).folder


DAMAGES = {
    "a flipped bit": lambda data: data[:9] + bytes([data[9] ^ 1]) + data[10:],
    "cut": lambda data: data[:-3],
    "longer": lambda data: data + b"\0",
}


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
@pytest.mark.parametrize("name", [*MAPS, "sentencepiece.model", "meta.json"])
def test_a_damaged_file_is_refused_in_one_line(prepared_once, name, damage):
    cfg, folder = prepared_once
    path = folder / name
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](whole))
    with pytest.raises(UserError, match=rf"{folder}.* remove ") as caught:
        prepare(cfg)
    assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    prepare(cfg)


def test_the_report_says_what_was_dropped_and_what_was_made(cfg, tmp_path):
    first, second = report(prepare(cfg))
    assert first == "200 pairs read, 200 kept; dropped: none"
    cfg.train = [write(tmp_path / "text" / "more", [*ENGLISH * 6, "", "b\udcffd"], [*GERMAN * 6, "x", "y"])]
    prepared = prepare(cfg)
    first, second = report(prepared)
    assert first == "1,202 pairs read, 1,200 kept; dropped: 1 not UTF-8, 1 empty"
    src, tgt = (len(prepared.map(f"{side}.ids")) for side in SIDES)
    assert second == f"{src:,} source and {tgt:,} target tokens of 310 pieces in {prepared.folder}"


LONG = "1 " * 260  # more than 250 pieces
POOL = ["", " ", "b\udcffd", "a", "a b", "a b c", "a b c d e f", "old dogs", "alte Hunde", LONG, "x" * 4001]


def oracle(lines: list[tuple[str, str]], cfg: DataConfig) -> tuple[list[tuple[str, str]], list[int], Counter[str]]:
    """One pair after the other: the kept ones, which of them begin something, and what is dropped why."""
    tokenizer, kept, begins, dropped, seen, gap = Tokenizer(MODEL), [], [], Counter(), set(), True
    for line in lines:
        pair = tuple(text.normalize(side) for side in line)
        few, many = (
            sorted(len(tokenizer.encode([side])[0]) for side in pair) if "\udcff" not in "".join(pair) else (0,) * 2
        )
        if "\udcff" in "".join(pair):
            why = "not UTF-8"
        elif "" in pair:
            why = "empty"
        elif max(map(len, pair)) > 4000 and cfg.clean == "fairseq":
            why = "too long"
        elif cfg.drop_identical and pair[0] == pair[1]:
            why = "identical sides"
        elif cfg.drop_duplicates and pair in seen:
            why = "duplicate"
        else:
            seen.add(pair)
            if many > (250 if cfg.clean == "fairseq" else 1024):
                why = "too long"
            else:
                why = "length ratio" if cfg.clean == "fairseq" and 2 * many > 3 * few else ""
        if why:
            dropped[why] += 1
        else:
            if gap:
                begins.append(len(kept))
            kept.append(pair)
        gap = bool(why)
    return kept, begins, dropped


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.tuples(st.sampled_from(POOL), st.sampled_from(POOL)), min_size=1, max_size=25),
    clean=st.sampled_from(["standard", "fairseq"]),
    identical=st.booleans(),
    duplicates=st.booleans(),
    chunk=st.integers(1, 7),
)
def test_every_pair_is_kept_or_dropped_for_one_counted_reason(lines, clean, identical, duplicates, chunk):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "MAX_BROKEN", 1)
        patch.setattr(preparing, "CHUNK", chunk)
        patch.setattr(preparing, "train_tokenizer", lambda *_: MODEL)
        train = write(Path(folder) / "train", *map(list, zip(*lines, strict=True)))
        valid = write(Path(folder) / "valid", ["a"], ["a"])
        cfg = DataConfig("random", train, valid, valid, dir=folder, clean=clean)
        cfg.drop_identical, cfg.drop_duplicates = identical, duplicates
        kept, begins, dropped = oracle(lines, cfg)
        if not kept:
            with pytest.raises(UserError, match="no pair to train on"):
                prepare(cfg)
            return
        prepared = prepare(cfg)
        meta = prepared.meta
        assert meta["read"] == len(lines) == meta["kept"] + sum(meta["dropped"].values())
        assert meta["dropped"] == dropped
        assert pairs(prepared) == kept
        assert starts(prepared) == begins


# ---- documents ----------------------------------------------------------------------------------------------------


def test_without_documents_each_file_begins_something_and_nothing_else_does(cfg):
    assert starts(prepare(cfg)) == [0]
    cfg.train = cfg.train * 3
    assert starts(prepare(cfg)) == [0, 200, 400]


@pytest.mark.parametrize("suffix", PACKERS)
def test_documents_begin_where_the_docs_file_says(cfg, suffix):
    documents(cfg.train[0], (1, 10), (11, 50), (61, 139), suffix=suffix)
    # the last line is in no document: it stands for itself
    assert starts(prepare(cfg)) == [0, 10, 60, 199]


def test_documents_of_each_file_are_its_own(cfg, tmp_path):
    other = write(tmp_path / "text" / "other", ENGLISH[:20], GERMAN[:20])
    documents(other, (1, 5), (6, 15))
    cfg.train = [*cfg.train, other, *cfg.train]
    assert starts(prepare(cfg)) == [0, 200, 205, 220]


@pytest.mark.parametrize("chunk", [1, 2, 3, 10_000])
@pytest.mark.parametrize("gap", [[], [4], [5], [4, 5], [0], [9]])
@pytest.mark.parametrize("hole", ["", "1 " * 1100], ids=["empty", "long"])
def test_after_a_dropped_line_something_begins(cfg, tmp_path, monkeypatch, chunk, gap, hole):
    monkeypatch.setattr(preparing, "CHUNK", chunk)
    monkeypatch.setattr(preparing, "train_tokenizer", lambda *_: MODEL)
    english = [hole if n in gap else line for n, line in enumerate(ENGLISH[:10])]
    cfg.train = [write(tmp_path / "text" / "gaps", english, GERMAN[:10])]
    documents(cfg.train[0], (1, 5), (6, 5))
    kept = [n for n in range(10) if n not in gap]
    expected = [i for i, n in enumerate(kept) if n in (0, 5) or n - 1 in gap]
    assert starts(prepare(cfg)) == expected


def test_a_malformed_docs_file_is_one_clear_line_and_leaves_nothing(cfg, tmp_path):
    second = write(tmp_path / "text" / "second", ENGLISH, GERMAN)
    Path(f"{second}.docs").write_text("1\t10\tfine\neleven\t20\n")
    for train in ([second], [*cfg.train, second]):
        cfg.train = train
        with pytest.raises(UserError, match=r"second\.docs, line 2, is not FIRST LINE, TAB, NUMBER OF LINES$"):
            prepare(cfg)
        assert not list(Path(cfg.dir).iterdir())


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_more_than_one_broken_line_in_a_thousand_is_refused_and_leaves_nothing(cfg, tmp_path):
    few = write(tmp_path / "text" / "few", [*(ENGLISH * 5)[:999], "b\udcffd"], GERMAN * 5)
    cfg.train = [few]
    assert prepare(cfg).meta["dropped"] == {"not UTF-8": 1}
    cfg.train = [write(tmp_path / "text" / "many", [*(ENGLISH * 5)[:998], "b\udcffd"], (GERMAN * 5)[:999])]
    cfg.dir = str(tmp_path / "other")
    with pytest.raises(UserError, match=r"more than 0\.1% of the training lines are not UTF-8"):
        prepare(cfg)
    assert not list((tmp_path / "other").iterdir())


def test_a_broken_test_set_is_refused_before_anything_is_made(cfg, tmp_path):
    for broken, why in (((ENGLISH[:3], GERMAN[:2]), "has 3 lines"), ((["b\udcffd"], ["x"]), "not UTF-8")):
        cfg.test = [write(tmp_path / "text" / "test", *broken)]
        with pytest.raises(UserError, match=why):
            prepare(cfg)
        assert not (tmp_path / "data").exists()


BAD_TEXT = {
    "empty lines": (["", ""], ["a", "b"], r"bad\.en: no pair to train on"),
    "empty files": ([], [], r"bad\.en: no pair to train on"),
    "a longer source": (ENGLISH, GERMAN[:-1], r"bad\.en has 200 lines, .*bad\.de has 199:"),
    "a longer target": (ENGLISH[:-1], GERMAN, r"bad\.en has 199 lines, .*bad\.de has 200:"),
    "too small": (ENGLISH, GERMAN, r"lower data\.vocab_size"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_text_that_cannot_be_trained_on_is_refused_and_leaves_nothing(cfg, tmp_path, case):
    english, german, message = BAD_TEXT[case]
    cfg.train = [write(tmp_path / "text" / "bad", english, german)]
    cfg.vocab_size = 5000 if case == "too small" else cfg.vocab_size
    with pytest.raises(UserError, match=message):
        prepare(cfg)
    assert not list((tmp_path / "data").iterdir())


def test_a_folder_that_cannot_be_written_is_one_clear_line(cfg, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write .*data") as caught:
        prepare(cfg)
    assert "\n" not in str(caught.value)


# ---- the same work, and other work --------------------------------------------------------------------------------


def test_the_same_settings_find_their_work_done(cfg, capsys):
    first = prepare(cfg)
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    capsys.readouterr()
    again = prepare(cfg)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before
    assert capsys.readouterr() == ("", "")


OTHER = {"vocab_size": 320, "tokenizer": "unigram", "clean": "fairseq", "drop_identical": True, "drop_duplicates": True}


@pytest.mark.parametrize("setting", [*OTHER, "train"])
def test_what_matters_makes_another_folder_beside_the_old_one(cfg, tmp_path, setting):
    first = prepare(cfg)
    held = contents(first.folder)
    changed = write(tmp_path / "text" / "changed", [*ENGLISH[:-1], "Something else ."], GERMAN)
    second = prepare(dataclasses.replace(cfg, **{setting: OTHER.get(setting, changed)}))
    assert sorted(Path(cfg.dir).iterdir()) == sorted([first.folder, second.folder])
    assert contents(first.folder) == held
    assert second.folder != first.folder


def test_documents_are_part_of_the_training_text(cfg):
    first = prepare(cfg)
    documents(cfg.train[0], (1, 100), (101, 100))
    second = prepare(cfg)
    assert second.folder != first.folder
    assert (starts(first), starts(second)) == ([0], [0, 100])


def test_what_does_not_matter_finds_the_work_done(cfg, tmp_path):
    first = prepare(cfg)
    same = [dataclasses.replace(cfg, workers=2), dataclasses.replace(cfg, max_len=99)]
    same += [dataclasses.replace(cfg, batch_tokens=9999), dataclasses.replace(cfg, context_tokens=100)]
    same += [dataclasses.replace(cfg, sampling=0.1)]
    for suffix in PACKERS:
        there = write(tmp_path / f"elsewhere{suffix}" / "renamed", ENGLISH, GERMAN, suffix)
        same.append(dataclasses.replace(cfg, train=there))
    same.append(dataclasses.replace(cfg, valid=cfg.train, test=cfg.train))
    assert {prepare(one).folder for one in same} == {first.folder}
    assert list(Path(cfg.dir).iterdir()) == [first.folder]
