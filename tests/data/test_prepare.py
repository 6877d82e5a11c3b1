"""prepare: what lies on disk in the end, what is refused, and which settings make another folder."""

import dataclasses
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rope_mt.config.commands import PrepareConfig
from rope_mt.config.data import DataConfig
from rope_mt.data import prepare as preparing
from rope_mt.data import text
from rope_mt.data.prepare import MAPS, prepare, prepare_and_report, report
from rope_mt.data.tokenizer import Tokenizer
from rope_mt.errors import UserError

from .small_text import ENGLISH, GERMAN, MODEL, PACKERS, SIDES, contents, documents, pairs, starts, write

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")


# ---- what lies on disk --------------------------------------------------------------------------------------------


def test_a_folder_that_was_removed_in_part_is_not_mistaken_for_none(cfg):
    folder = prepare(cfg).folder
    (folder / "meta.json").unlink()
    with pytest.raises(UserError, match=rf"^{folder} is not all there: remove it"):
        prepare(cfg)
    shutil.rmtree(folder)
    folder.mkdir()  # empty: nobody's
    assert prepare(cfg).folder == folder


@pytest.mark.parametrize("name", [*MAPS, "sentencepiece.model"])
def test_a_lost_file_is_refused_in_one_line(cfg, name):
    """Damaged ones: tests/runs/damaged.py."""
    folder = prepare(cfg).folder
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"^{folder}/{name} is missing: remove {folder} to make it again$"):
        prepare(cfg)


def test_the_command_says_how_full_batches_are(cfg, capsys):
    prepare_and_report(PrepareConfig(dataclasses.replace(cfg, batch_tokens=1500, max_len=400, sampling=0.1)))
    *_, said = capsys.readouterr().out.splitlines()
    pattern = r"an epoch has (\d+) batches of (\d+) shapes with up to 1,500 slots, (\d\d\.\d)% of them filled"
    match = re.fullmatch(pattern, said)
    assert match
    batches, shapes, filled = map(float, match.groups())
    tokens = sum(prepare(cfg).meta["tokens"].values()) + 2 * len(ENGLISH)
    assert tokens / (1500 * batches) < filled / 100 + 0.001
    assert shapes <= 32


def test_the_report_and_meta_count_what_the_files_hold(cfg, tmp_path):
    assert next(iter(report(prepare(cfg)))) == "200 pairs read, 200 kept; dropped: none"
    cfg.train = [write(tmp_path / "text" / "more", [*ENGLISH * 6, "", "b\udcffd"], [*GERMAN * 6, "x", "y"])]
    prepared = prepare(cfg)
    first, second = report(prepared)
    assert first == "1,202 pairs read, 1,200 kept; dropped: 1 not UTF-8, 1 empty"
    src, tgt = (prepared.meta["tokens"][side] for side in SIDES)
    assert second == f"{src:,} source and {tgt:,} target tokens of 310 pieces in {prepared.folder}"
    for side in SIDES:
        lengths = prepared.map(f"{side}.lengths")
        assert len(lengths) == len(prepared.map("begins")) == prepared.meta["kept"] == 1200
        assert lengths.sum() == len(prepared.map(f"{side}.ids")) == prepared.meta["tokens"][side]
    assert len(prepared.tokenizer()) == 310
    assert sorted(contents(prepared.folder)) == sorted([*MAPS, "meta.json", "sentencepiece.model"])


def test_the_report_counts_pairs_with_what_a_reader_does_not_see(cfg, tmp_path):
    odd = [("Cafe\u0301", "Tee"), ("re\u00adwrite \u00ad", "neu\u200bschreiben"), ("\u202bab\u202c", "Ab"), ("é", "è")]
    sides = zip(*[*zip(ENGLISH, GERMAN, strict=True), *odd], strict=True)
    cfg.train = [write(tmp_path / "text" / "odd", *map(list, sides))]
    lines = [*report(prepare(cfg))]
    assert lines[2:] == [
        "1 pair not in Unicode's form NFC, 1 pair with soft hyphens, 1 pair with zero-width characters, "
        "1 pair with bidirectional marks: text is read in NFC, and the signs stay"
    ]


LONG = "1 " * 260  # more than 250 pieces
ALL_AT_ONCE = [("b\udcffd", ""), ("", ""), ("x" * 4001, "x" * 4001), ("a", "a"), ("a", "a"), ("a b", "b a")]
POOL = ["", " ", "b\udcffd", "a", "a b", "a b c", "a b c d e f", "old dogs", "alte Hunde", LONG, "x" * 4001]


def oracle(lines: list[tuple[str, str]], cfg: DataConfig) -> tuple[list[tuple[str, str]], list[int], Counter[str]]:
    """One pair after the other: the kept ones, which of them begin something, and what is dropped why."""
    tokenizer, kept, begins, dropped, seen, gap = Tokenizer(MODEL), [], [], Counter(), set(), True
    for line in lines:
        pair = tuple(text.normalize(side) for side in line)
        broken = "\udcff" in "".join(pair)
        few, many = (0, 0) if broken else sorted(len(tokenizer.encode([side])[0]) for side in pair)
        if broken:
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
@example(lines=ALL_AT_ONCE, clean="fairseq", identical=True, duplicates=True, chunk=3)
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


@pytest.mark.parametrize("suffix", PACKERS)
def test_documents_begin_where_the_docs_file_of_each_text_says(cfg, tmp_path, suffix):
    other = write(tmp_path / "text" / "other", ENGLISH[:20], GERMAN[:20])
    cfg.train = [*cfg.train, other, *cfg.train]
    assert starts(prepare(cfg)) == [0, 200, 220]  # without documents each file begins something
    documents(other, (1, 5), (6, 14), suffix=suffix)
    # the last line is in no document: it stands for itself
    assert starts(prepare(cfg)) == [0, 200, 205, 219, 220]


# ---- what is refused ----------------------------------------------------------------------------------------------

MANY, MANY_GERMAN = (ENGLISH * 5)[:998], (GERMAN * 5)[:999]
BAD_TEXT = {
    "empty lines": (["", ""], ["a", "b"], r"bad\.en: no pair to train on"),
    "empty files": ([], [], r"bad\.en: no pair to train on"),
    "a longer source": (ENGLISH, GERMAN[:-1], r"bad\.en has 200 lines, .*bad\.de has 199:"),
    "too small": (ENGLISH * 4, GERMAN * 4, r"lower data\.vocab_size"),
    "1 of 999 broken": ([*MANY, "b\udcffd"], MANY_GERMAN, r"more than 0\.1% of the training lines are not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_text_that_cannot_be_trained_on_is_refused_and_leaves_nothing(cfg, tmp_path, case):
    english, german, message = BAD_TEXT[case]
    cfg.train = [write(tmp_path / "text" / "bad", english, german)]
    cfg.vocab_size = 5000 if case == "too small" else cfg.vocab_size
    with pytest.raises(UserError, match=message):
        prepare(cfg)
    assert not list((tmp_path / "data").iterdir())


def test_one_broken_line_in_a_thousand_is_dropped(cfg, tmp_path):
    cfg.train = [write(tmp_path / "text" / "few", [*MANY, "fine", "b\udcffd"], GERMAN * 5)]
    assert prepare(cfg).meta["dropped"] == {"not UTF-8": 1}


def test_a_broken_test_set_and_a_folder_that_cannot_be_written_are_refused_before_anything_is_made(cfg, tmp_path):
    good = cfg.test
    for broken, why in (((ENGLISH[:3], GERMAN[:2]), "has 3 lines"), ((["b\udcffd"], ["x"]), "not UTF-8")):
        cfg.test = [write(tmp_path / "text" / "test", *broken)]
        with pytest.raises(UserError, match=why):
            prepare(cfg)
        assert not (tmp_path / "data").exists()
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"^cannot write .*data.*$"):
        prepare(dataclasses.replace(cfg, test=good))


# ---- the same work, and other work --------------------------------------------------------------------------------

OTHER = {"vocab_size": 320, "tokenizer": "unigram", "clean": "fairseq", "drop_identical": True, "drop_duplicates": True}
UNUSED = {"workers": 2, "max_len": 99, "batch_tokens": 9999, "context_tokens": 100, "sampling": 0.1}


def test_what_matters_makes_another_folder_beside_the_old_ones(cfg, tmp_path):
    changed = write(tmp_path / "text" / "changed", [*ENGLISH[:-1], "Something else ."], GERMAN)
    divided = write(tmp_path / "text" / "divided", ENGLISH, GERMAN)
    documents(divided, (1, 100), (101, 100))
    others = [dataclasses.replace(cfg, **{name: value}) for name, value in OTHER.items()]
    others += [dataclasses.replace(cfg, train=train) for train in (changed, divided)]
    made: dict[Path, dict[str, bytes]] = {}
    for each in (cfg, *others):
        folder = prepare(each).folder
        assert folder not in made
        made[folder] = contents(folder)
        assert {path: contents(path) for path in Path(cfg.dir).iterdir()} == made


def test_what_does_not_matter_finds_the_work_done(cfg, tmp_path, capsys):
    first = prepare(cfg)
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    capsys.readouterr()
    same = [cfg, *(dataclasses.replace(cfg, **{name: value}) for name, value in UNUSED.items())]
    for suffix in PACKERS:
        moved = write(tmp_path / f"elsewhere{suffix}" / "renamed", ENGLISH, GERMAN, suffix)
        same.append(dataclasses.replace(cfg, train=moved))
    same.append(dataclasses.replace(cfg, valid=cfg.train, test=cfg.train))
    assert [prepare(each) for each in same] == [first] * len(same)
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before
    assert list(Path(cfg.dir).iterdir()) == [first.folder]
    assert capsys.readouterr() == ("", "")
