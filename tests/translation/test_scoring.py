import lzma
import random
import unicodedata
from importlib.metadata import version

import pytest

from rope_mt.data.checks import KNOWN, name_of_test_set
from rope_mt.errors import UserError
from rope_mt.translation.raw_text import require_raw_text, scoring_warnings
from rope_mt.translation.scoring import (
    _bleu,
    _moses,
    _split_compounds,
    score,
    score_lines,
    variants,
)

# The scores that sacreBLEU 2.6.0 gives three published outputs for newstest2014, all 3,003 sentences:
# BLEU of tokens, BLEU 13a, each with its details; intl, lower-cased 13a, char, chrF2
PUBLISHED = {
    "sennrich2016": (
        ("25.4143", "57.4/31.4/19.2/12.1 (BP = 1.000 ratio = 1.026 hyp_len = 64693 ref_len = 63075)"),
        ("25.3579", "57.0/31.3/19.2/12.1 (BP = 1.000 ratio = 1.035 hyp_len = 64911 ref_len = 62687)"),
        ("26.0285", "25.8774", "63.024", "56.7718"),
    ),
    "bpe2bpe": (
        ("20.1105", "51.7/25.6/14.5/8.6 (BP = 1.000 ratio = 1.047 hyp_len = 66065 ref_len = 63075)"),
        ("20.0733", "51.4/25.5/14.5/8.6 (BP = 1.000 ratio = 1.057 hyp_len = 66276 ref_len = 62687)"),
        ("20.7336", "20.5383", "58.1295", "51.8817"),
    ),
    "char2char": (
        ("19.7579", "52.8/25.5/14.0/8.1 (BP = 1.000 ratio = 1.007 hyp_len = 63501 ref_len = 63075)"),
        ("19.7144", "52.5/25.4/14.0/8.1 (BP = 1.000 ratio = 1.016 hyp_len = 63691 ref_len = 62687)"),
        ("20.4401", "20.1577", "58.5147", "52.0576"),
    ),
}
SENTENCES = ["Das ist ein wohl-bekannter Satz von hier.", "Er kam, sah und siegte; sie aber auch.", "Nein, nicht so!"]


@pytest.fixture(scope="module")
def read(corpora):
    def read(name):
        with lzma.open(corpora / f"{name}.xz", "rt", encoding="utf-8", newline="\n") as file:
            return [line.removesuffix("\n") for line in file]

    return read


@pytest.fixture(scope="module")
def raw_references(read):
    return read("test/newstest2014.en-de.de")


@pytest.fixture(scope="module")
def moses_references(read):
    return read("bleu-check/newstest2014.ref.tok.de")


def digits(value, like):
    return f"{value:.{len(like.partition('.')[2])}f}"


@pytest.mark.parametrize("system", PUBLISHED)
def test_published_outputs_get_their_known_scores_to_the_last_digit(system, read, raw_references, moses_references):
    of_tokens, of_text, (intl, lower, char, chrf) = PUBLISHED[system]
    tokens, _ = _bleu(read(f"bleu-check/newstest2014.{system}.tok.de"), moses_references, tokenize="none")
    assert digits(tokens.score, of_tokens[0]) == of_tokens[0]
    assert tokens.format().endswith(f" {of_tokens[1]}")

    output = read(f"bleu-check/newstest2014.{system}.detok.de")
    scores = {each.name: each.value for each in variants(output, raw_references)}
    ours = score(output, raw_references)
    assert digits(ours.bleu, of_text[0]) == of_text[0]
    assert ours.bleu_detail == f"BLEU|{ours.bleu_signature} = {ours.bleu:.2f} {of_text[1]}"
    assert scores["BLEU-13a"] == ours.bleu
    assert digits(ours.chrf, chrf) == chrf
    expected = {"BLEU-intl": intl, "BLEU-13a-lc": lower}
    assert {name: digits(scores[name], expected[name]) for name in expected} == expected
    assert digits(_bleu(output, raw_references, tokenize="char")[0].score, char) == char
    assert 0.3 < scores["BLEU-split"] - scores["BLEU-tokens"] < 1.0  # the offset that papers know


def test_references_become_the_tokens_that_moses_makes_of_them(raw_references, moses_references):
    assert _moses(raw_references, "de") == moses_references


def named(hypothesis, reference):
    return {each.name: each.value for each in variants([hypothesis], [reference])}


def test_a_compound_that_shares_a_half_gains_only_where_compounds_are_split():
    scores = named("a b c d Wort-Bild e f g h", "a b c d Wort-Blatt e f g h")
    whole = 100 * (8 / 9 * 6 / 8 * 4 / 7 * 2 / 6) ** (1 / 4)  # 9 tokens, one of them wrong
    split = 100 * (10 / 11 * 8 / 10 * 6 / 9 * 4 / 8) ** (1 / 4)  # 11 tokens, one of them wrong
    assert scores["BLEU-13a"] == pytest.approx(whole)
    assert scores["BLEU-tokens"] == pytest.approx(whole)
    assert scores["BLEU-split"] == pytest.approx(split)
    no_hyphen = named("a b c d Bild e f g h", "a b c d Blatt e f g h")
    assert no_hyphen["BLEU-split"] == no_hyphen["BLEU-tokens"]


def test_compounds_are_split_as_perl_does_it():
    lines = ["a-b c-d-e 1-2-3-4", "-x y- - z--w", ""]
    assert _split_compounds(lines) == [
        "a ##AT##-##AT## b c ##AT##-##AT## d-e 1 ##AT##-##AT## 2-3 ##AT##-##AT## 4",
        "-x y- - z ##AT##-##AT## -w",
        "",
    ]


def test_case_is_ignored_only_where_the_name_says_so():
    scores = named("DAS IST ein KLEINES Haus AM See", "Das ist ein kleines Haus am See")
    assert scores.pop("BLEU-13a-lc") == pytest.approx(100)
    assert all(value < 60 for value in scores.values())


def test_intl_takes_typographic_quotes_off_a_word_and_13a_does_not():
    scores = named("sie las oft „Haus“ und „Hof“ in Ruhe", "sie las oft Haus und Hof in Ruhe")
    # No 4-gram is right, which sacreBLEU counts as half of one
    assert scores["BLEU-intl"] == pytest.approx(100 * (8 / 12 * 3 / 11 * 1 / 10 * 0.5 / 9) ** (1 / 4))
    assert scores["BLEU-13a"] == pytest.approx(100 * (6 / 8 * 3 / 7 * 1 / 6 * 0.5 / 5) ** (1 / 4))


def test_only_the_score_to_be_reported_has_the_signature_of_13a():
    one, *others = variants(SENTENCES, SENTENCES)
    signatures = [one.signature, *(each.signature for each in others)]
    assert one.signature == score(SENTENCES, SENTENCES).bleu_signature
    assert len(set(signatures)) == len(signatures) == len({each.label for each in (one, *others)})
    assert [s for s in signatures if "tok:13a" in s and "case:mixed" in s] == [one.signature]
    tokens, split = (each.signature.split("|") for each in others if each.name in ("BLEU-tokens", "BLEU-split"))
    assert set(tokens) ^ set(split) == {"text:moses-de", "text:moses-de+split"}
    assert {"tok:none", f"sacremoses:{version('sacremoses')}"} < set(tokens)


def test_the_lines_have_every_score_its_label_and_its_signature_and_fit_a_terminal():
    scores = variants(SENTENCES, [*SENTENCES[1:], SENTENCES[0]])
    main = score(SENTENCES, [*SENTENCES[1:], SENTENCES[0]])
    lines = [line.plain for line in score_lines(main, scores)]
    assert lines[0] == main.bleu_detail
    assert lines[1].strip() == scores[0].label
    assert lines[2] == f"chrF2|{main.chrf_signature} = {main.chrf:.2f}"
    lines = lines[3:]
    assert all(len(line) <= 110 for line in lines)
    for each in scores[1:]:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{each.name} "))
        assert f" {each.value:.2f}  {each.label}" in lines[at]
        assert lines[at + 1].strip() == each.signature


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(UserError, match="3 hypotheses cannot be scored against 2 references"):
        score(SENTENCES, SENTENCES[:2])


CUT = {
    "▁": ["Ein Satz.", "▁Das ▁ist ▁ein ▁Te st ."],
    "<0xE2>": ["Ein Satz.", "Das ist <0xE2><0x82> viel."],
    "@@": ["Ein Satz.", "Das ist un@@ mög@@ lich ."],
    "##": ["Ein Satz.", "Das ist un ##mög ##lich ."],
}


@pytest.mark.parametrize("mark", CUT)
def test_references_in_subwords_are_refused_with_line_and_mark(mark):
    with pytest.raises(UserError, match=rf'news\.de, line 2, has the subword mark "{mark}"') as refused:
        require_raw_text(CUT[mark], "news.de")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("mark", CUT)
def test_output_in_subwords_is_scored_all_the_same_and_a_doubt_named(mark):
    score(CUT[mark], SENTENCES[:2])
    [said] = scoring_warnings(CUT[mark], SENTENCES[:2])
    assert f'"{mark}" in line 2' in said
    assert scoring_warnings(SENTENCES, SENTENCES) == []


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
    require_raw_text([line], "the references")
    require_raw_text([line, line, *["Ein Satz."] * 300], "the references")


def test_a_few_marks_are_refused_only_when_they_are_many_for_the_text():
    rest = ["Ein Satz."] * 300
    require_raw_text([*rest, *["ein un@@ schöner Satz"] * 3], "x")
    with pytest.raises(UserError, match='x, line 301, has the subword mark "@@"'):
        require_raw_text([*rest, *["ein un@@ schöner Satz"] * 4], "x")


def test_a_model_that_writes_anything_cannot_make_scoring_fail():
    random_ = random.Random(0)
    signs = [*"ab .-@#&;'", "▁", "\ufffd", "@@ ", " ##", "<0xE2>", "\u200b", "\x00", "\x85", "😀", "`", "„"]
    output = ["".join(random_.choices(signs, k=random_.randrange(40))) for _ in range(200)]
    raw = [f"{word} ist ein Satz." for word in map(str, range(200))]
    assert all(0 <= each.value <= 100 for each in variants(output, raw))
    assert all(each.value == 0 for each in variants([""] * 200, raw))
    assert scoring_warnings(output, raw)


def test_tokenised_references_are_refused_and_tokenised_output_is_doubted():
    raw, tokens = ["Das ist so.", "Und nun?"] * 10, ["Das ist so .", "Und nun ?"] * 10
    require_raw_text(raw, "news.de")
    require_raw_text([*raw, *tokens[:18]], "news.de")  # less than half
    require_raw_text(["So ."] * 9, "news.de")  # too few to tell
    with pytest.raises(UserError, match=r"news\.de are tokenised"):
        require_raw_text(tokens, "news.de")
    assert [said.split(" (")[0] for said in scoring_warnings(tokens, raw)] == ["the output is tokenised"]
    assert [said.split(" (")[0] for said in scoring_warnings(tokens, tokens)] == ["the references are tokenised"]
    assert scoring_warnings(raw, raw) == []


def test_references_that_nothing_can_match_are_named():
    raw = ["Das ist so.", "", "Und nun?", " \u00a0", "x" * 16_384, "x " * 8_193]
    empty, endless = scoring_warnings(["Das"] * len(raw), raw)
    assert empty == "lines 2, 4: the reference is empty, and whatever is written there is wrong"
    assert endless.startswith("line 6: the reference has over 16,384 characters")
    score(["Das"] * len(raw), raw)


def test_no_real_text_is_refused_and_its_moses_tokens_are(corpora, read, moses_references):
    for path in sorted(corpora.glob("test/*.[de][en].xz")):
        lines = read(path.relative_to(corpora).with_suffix(""))
        require_raw_text(lines, path.name)
        require_raw_text(lines, path.name)
        assert scoring_warnings(lines, lines) == []
    with pytest.raises(UserError, match="tokenised"):
        require_raw_text(moses_references, "the references")


TEST_SETS = {
    "newstest2014": "newstest2014, all 3,003 sentences (sacreBLEU wmt14/full)",
    "newstest2014-2737": "newstest2014, 2,737 sentences (sacreBLEU wmt14)",
    "newstest2012": "newstest2012 (sacreBLEU wmt12)",
    "newstest2013": "newstest2013 (sacreBLEU wmt13)",
    "newstest2015": "newstest2015 (sacreBLEU wmt15)",
    "multi30k-val": "Multi30k val",
    "multi30k-test_2016_flickr": "Multi30k test_2016_flickr",
    "multi30k-test_2017_flickr": "Multi30k test_2017_flickr",
    "multi30k-test_2017_mscoco": "Multi30k test_2017_mscoco",
}


def test_a_known_test_set_is_told_by_what_its_references_say(read):
    assert {name: name_of_test_set(read(f"test/{name}.en-de.de")) for name in TEST_SETS} == TEST_SETS
    assert set(KNOWN.values()) == set(TEST_SETS.values())


def test_neither_order_nor_what_nobody_sees_changes_the_name_but_any_word_does(raw_references, moses_references):
    name = TEST_SETS["newstest2014"]
    shuffled = random.Random(0).sample(raw_references, len(raw_references))
    unseen = [f" {unicodedata.normalize('NFD', line).replace(' ', chr(0xA0), 1)}\u200b\r" for line in shuffled]
    assert [name_of_test_set(lines) for lines in (shuffled, unseen)] == [name, name]
    straight = [line.replace("„", '"') for line in raw_references]
    shorter, twice = raw_references[:-1], [*raw_references[:-1], raw_references[0]]
    lower = [line.lower() for line in raw_references]
    for other in (straight, shorter, twice, lower, moses_references, ["Ein Satz."] * 3003, []):
        assert name_of_test_set(other) is None
