"""Text in subwords or tokens is noticed, and real text is never mistaken for it."""

import random
import unicodedata

import pytest

from rope_mt.errors import UserError
from rope_mt.translation.raw_text import require_raw_text, scoring_warnings
from rope_mt.translation.scoring import score, variants

from .published_scores import read_lines

RAW = ["Ein Satz.", "Das ist so."]
IN_SUBWORDS = {
    "▁": "▁Das ▁ist ▁ein ▁Te st .",
    "<0xE2>": "Das ist <0xE2><0x82> viel.",
    "@@": "Das ist un@@ mög@@ lich .",
    "##": "Das ist un ##mög ##lich .",
}


@pytest.mark.parametrize(("mark", "line"), IN_SUBWORDS.items(), ids=[*IN_SUBWORDS])
def test_subwords_are_refused_in_references_and_warned_of_in_hypotheses(mark, line):
    with pytest.raises(UserError, match=rf'^[^\n]*news\.de, line 2, has the subword mark "{mark}"[^\n]*$'):
        require_raw_text([RAW[0], line], "news.de")
    [warning] = scoring_warnings([RAW[0], line], RAW)
    assert f'"{mark}" in line 2' in warning
    assert scoring_warnings(RAW, RAW) == []


@pytest.mark.parametrize(
    "line",
    [
        "Schreib an anna@example.org oder an @@anna oder anna@@",
        "@@ -1,4 +1,5 @@ eine Änderung",
        "SELECT @@ROWCOUNT und ##.####.### oder @@-###-###",
        "# Eins ## Zwei ### Drei",
        "Das Byte 0xE2 und <0xZZ> und a < 0x10",
        "Ein@@ Tippfehler",  # one in the whole text
        "Der Wert wird zu ##main.",
    ],
)
def test_signs_like_marks_in_real_text_are_not_refused(line):
    require_raw_text([line], "x")
    require_raw_text([line, line, *["Ein Satz."] * 300], "x")


def test_a_few_marks_are_refused_only_when_they_are_many_for_the_text():
    raw, marked = ["Ein Satz."] * 300, "ein un@@ schöner Satz"
    require_raw_text([*raw, *[marked] * 3], "x")
    with pytest.raises(UserError, match='x, line 301, has the subword mark "@@"'):
        require_raw_text([*raw, *[marked] * 4], "x")


def test_no_output_of_a_model_makes_scoring_fail():
    random_ = random.Random(0)
    signs = [*"ab .-@#&;'", "▁", "\ufffd", "@@ ", " ##", "<0xE2>", "\u200b", "\x00", "\x85", "😀", "`", "„"]
    output = ["".join(random_.choices(signs, k=random_.randrange(40))) for _ in range(200)]
    references = [f"{n} ist ein Satz." for n in range(200)]
    assert all(0 <= variant.value <= 100 for variant in variants(output, references))
    assert all(variant.value == 0 for variant in variants([""] * 200, references))
    assert scoring_warnings(output, references)


def test_references_in_another_unicode_form_are_told_with_the_score_that_they_cost(tmp_path):
    composed = [f"Die Ärzte von Ålesund hören Nr. {n} gern." for n in range(8)]
    mixed = [unicodedata.normalize("NFD", line) if n % 4 else line for n, line in enumerate(composed)]
    [warning] = scoring_warnings(composed, mixed)
    assert warning.startswith("6 of 8 references are not in Unicode's form NFC, in which translations are")
    assert warning.endswith("with all in NFC, BLEU is 100.00")
    assert score(composed, mixed).bleu < 60


def test_signs_that_nobody_sees_in_references_are_counted_and_a_drawing_is_no_subword():
    references = ["Fieber: ▁▂▃", "Haus\u00adboot", "a\u200db", "\u2067שלום\u2069", "Haus\u00adtür\ufeff"]
    require_raw_text(references, "x")
    [warning] = scoring_warnings(references, references)
    assert warning == (
        "the references have 1 line with U+2581, which SentencePiece takes for a blank, 2 lines with soft hyphens, "
        "2 lines with zero-width characters, 1 line with bidirectional marks"
    )


def test_tokens_are_refused_in_references_and_warned_of_in_hypotheses():
    raw, tokens = ["Das ist so.", "Und nun?"] * 10, ["Das ist so .", "Und nun ?"] * 10
    require_raw_text(raw, "news.de")
    require_raw_text([*raw, *tokens[:18]], "news.de")  # less than half
    require_raw_text(["So ."] * 9, "news.de")  # too few to tell
    with pytest.raises(UserError, match=r"news\.de are tokenised"):
        require_raw_text(tokens, "news.de")
    assert [warning.split(" (")[0] for warning in scoring_warnings(tokens, raw)] == ["the output is tokenised"]
    assert [warning.split(" (")[0] for warning in scoring_warnings(tokens, tokens)] == ["the references are tokenised"]
    assert scoring_warnings(raw, raw) == []


def test_references_that_no_hypothesis_can_match_are_named():
    references = ["Das ist so.", "", "Und nun?", " \u00a0", "x" * 16_384, "x " * 8_193]
    empty, endless = scoring_warnings(["Das"] * len(references), references)
    assert empty == "lines 2, 4: the reference is empty, and whatever is written there is wrong"
    assert endless.startswith("line 6: the reference has over 16,384 characters")
    score(["Das"] * len(references), references)


def test_no_real_text_is_refused_and_its_moses_tokens_are(corpora):
    for path in sorted(corpora.glob("test/*.[de][en].xz")):
        lines = read_lines(corpora, f"test/{path.stem}")
        require_raw_text(lines, path.name)
        assert scoring_warnings(lines, lines) == []
    with pytest.raises(UserError, match="tokenised"):
        require_raw_text(read_lines(corpora, "bleu-check/newstest2014.ref.tok.de"), "x")
