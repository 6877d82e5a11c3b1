"""Cleaning: what its steps keep and drop. All together: test_prepare.py; of odd text: translation/test_odd_text.py."""

import numpy as np
import pytest

from rope_mt.config.data import DataConfig
from rope_mt.data.clean import LENGTHS, LONGEST_PIECE, Cleaning
from rope_mt.data.tokenizer import Tokenizer, train_tokenizer

WORDS = ["the", "old", "dogs", "see", "a", "black", "cat", "and", "die", "alten", "Hunde", "sehen", "eine", "Katze"]


def cleaning(**given) -> Cleaning:
    return Cleaning(DataConfig("test", "a", "b", "c", **given))


@pytest.mark.parametrize(
    "pair",
    [(b"x" * 16_384, b"x"), (b"  x " * 16_384, b"y"), (b"same", b"same"), ("Größe".encode(), b"?"), (b"\0", b"\x01")],
    ids=["just short enough", "short without its blanks", "identical", "umlaut", "control"],
)
def test_the_default_keeps_all_other_text_normalised(pair):
    steps = cleaning(drop_identical=pair[0] != pair[1])
    pair = (pair[0][:16_384], pair[1])
    assert steps.text(*pair) == tuple(" ".join(side.decode().split()) for side in pair)
    assert steps.text(*pair) is not None
    assert not steps.dropped


def test_identical_sides_and_all_but_the_first_of_equal_pairs_are_dropped_only_when_asked():
    same = [("Mu\u0308ller \t\u00a0AG".encode(), "M\u00fcller AG ".encode()), (b"Mueller AG", "Müller AG".encode())]
    equal = [(b"a", b"x"), (b"a", b"y"), (b"b", b"x"), (b" a ", b"x"), (b"x", b"a"), (b"a", b"x"), (b"b", b"x")]
    for stream, setting, dropped, step in (
        (same, "drop_identical", [True, False], "identical sides"),
        (equal, "drop_duplicates", [False, False, False, True, False, True, True], "duplicate"),
    ):
        assert [cleaning().text(*pair) is None for pair in stream] == [False] * len(stream)
        steps = cleaning(**{setting: True})
        assert [steps.text(*pair) is None for pair in stream] == dropped
        assert steps.dropped == {step: sum(dropped)}


@pytest.mark.parametrize(("clean", "most", "ratio"), [("standard", 1024, 1024), ("fairseq", 250, 1.5)])
def test_exactly_the_pairs_within_the_limits_for_lengths_in_pieces_are_kept(clean, most, ratio):
    lengths = [*range(1, 300), 1023, 1024, 1025]
    src, tgt = (side.ravel() for side in np.meshgrid(lengths, lengths))
    pairs = np.stack((src, tgt), axis=1).tolist()
    brute = [max(pair) <= most and max(pair) <= ratio * min(pair) for pair in pairs]
    steps = cleaning(clean=clean)
    assert steps.fits(src, tgt).tolist() == brute
    over = int((np.maximum(src, tgt) > most).sum())
    assert steps.dropped == {"too long": over, "length ratio": len(brute) - sum(brute) - over}


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("clean", LENGTHS)
def test_a_line_dropped_for_its_characters_has_too_many_pieces_even_where_pieces_are_longest(kind, clean):
    word = "Donaudampfschiff"
    assert len(word) == 16
    tokenizer = Tokenizer(train_tokenizer([word * 8, word, *WORDS] * 20, 310 if kind == "bpe" else 290, kind))
    most, _ = LENGTHS[clean]
    line = (word * most)[: most * LONGEST_PIECE - 1]
    [few] = tokenizer.encode([line])
    assert len(few) <= most + LONGEST_PIECE  # pieces are as long here as they can be, or this would say nothing
    steps = cleaning(clean=clean)
    assert steps.text((line + "D").encode(), b"x") is not None
    assert steps.text((line + "Do").encode(), b"x") is None
    for over in (word * most + "D", (f"{word[:15]} " * (most + 1))[: most * LONGEST_PIECE + 1]):
        [ids] = tokenizer.encode([over])
        assert len(ids) > most
