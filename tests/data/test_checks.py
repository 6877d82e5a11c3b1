"""Checks of parallel text: the direction that its pairs show, and the names of known test sets."""

import random
import unicodedata

import pytest

from rope_mt.config.data import DataConfig
from rope_mt.data import corpus, text
from rope_mt.data import prepare as preparing
from rope_mt.data.checks import KNOWN, directions, name_of_test_set, warnings_about
from rope_mt.data.prepare import prepare, report
from rope_mt.data.tokenizer import Tokenizer

from .small_text import MODEL, write

RIGHT = [(f"The {n} dogs and cats are on the roof", f"Die {n} Hunde und Katzen sind auf dem Dach") for n in range(20)]
# their references have the names in KNOWN, in this order
TEST_SETS = ["newstest2014", "newstest2014-2737", "newstest2012", "newstest2013", "newstest2015"]
TEST_SETS += [f"multi30k-{part}" for part in ("val", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")]


def exchanged(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(tgt, src) for src, tgt in pairs]


def test_pairs_are_told_from_exchanged_ones():
    english, german = zip(*RIGHT, strict=True)
    assert directions(english, german, "en", "de") == [1] * 20
    assert directions(german, english, "en", "de") == [-1] * 20
    assert directions(german, english, "de", "en") == [1] * 20
    assert directions(german, None, "en", "de") == [-1] * 20
    unsure = ["", "OK", *english, *german]
    assert {*directions(["Der Spiegel", *unsure], ["The Guardian", *unsure], "en", "de")} == {0}
    assert {*directions(["the dog", "the Hund und", "OK"], None, "en", "de")} == {0}
    assert {*directions(german, english, "en", "fr")} == {0}


@pytest.mark.parametrize(("wrong", "beginning"), [(0, ""), (9, "in 9 of 20 "), (11, "warning: in 11 of 20 ")])
def test_exchanged_sides_are_counted_and_warned_of_where_they_are_most(tmp_path, monkeypatch, wrong, beginning):
    monkeypatch.setattr(preparing, "train_tokenizer", lambda *_: MODEL)
    test = [*exchanged(RIGHT[:wrong]), *RIGHT[wrong:], ("OK", "OK")]
    dropped = f"Die Hunde sind nicht auf dem Dach {'1 ' * 1_100}", "The dogs are not on the roof"
    prefix = write(tmp_path / "test", *map(list, zip(*test, strict=True)))
    train = write(tmp_path / "train", *map(list, zip(*test, dropped, strict=True)))
    cfg = DataConfig("directed", train, prefix, prefix, dir=str(tmp_path / "data"))
    prepared = prepare(cfg)
    assert prepared.meta["dropped"] == {"too long": 1}
    assert (prepared.meta["look_exchanged"], prepared.meta["show_languages"]) == (wrong, 20)
    line = "pairs that show their languages the source looks like de and the target like en"
    assert [*report(prepared)][2:] == ([f"{beginning}{line}"] if beginning else [])
    warning = f"{prefix}.en: most sources look like the language de, and their references like en"
    warnings = warnings_about(corpus.find(cfg, "test"), Tokenizer(MODEL), "en", "de")
    assert warnings == ([warning] if wrong > 10 else [])


def test_real_pairs_are_hardly_ever_taken_for_exchanged_ones(corpora):
    for name in ("multi30k-val", "newstest2014", "ted-iwslt17-test"):
        source, target = (corpora / "test" / f"{name}.en-de.{lang}.xz" for lang in ("en", "de"))
        src, tgt = text.read_test_set([(source, target)])
        ways = directions(src, tgt, "en", "de")
        assert ways.count(-1) <= len(ways) / 1_000
        assert ways.count(1) > 0.75 * len(ways)
        assert directions(tgt, src, "en", "de") == [-way for way in ways]


def references(corpora, name: str) -> list[str]:
    return [line.decode() for line in text.lines(corpora / "test" / f"{name}.en-de.de.xz")]


def test_a_known_test_set_is_named_by_its_references(corpora):
    assert [name_of_test_set(references(corpora, name)) for name in TEST_SETS] == [*KNOWN.values()]


def test_neither_order_nor_invisible_characters_change_the_name_but_any_word_does(corpora):
    original = references(corpora, "multi30k-val")
    shuffled = random.Random(0).sample(original, len(original))
    invisible = [f" {unicodedata.normalize('NFD', line).replace(' ', chr(0xA0), 1)}\u200b\r" for line in shuffled]
    assert [name_of_test_set(lines) for lines in (shuffled, invisible)] == ["Multi30k val"] * 2
    one_word = [original[0].replace(" ", " und ", 1), *original[1:]]
    shorter, twice = original[:-1], [*original[:-1], original[0]]
    lower = [line.lower() for line in original]
    for other in (one_word, shorter, twice, lower, ["Ein Satz."] * len(original), []):
        assert name_of_test_set(other) is None
