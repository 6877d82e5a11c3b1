"""Scores, their signatures, and the lines that print them."""

from importlib.metadata import version

import pytest

from rope_mt.errors import UserError
from rope_mt.translation.scoring import _split_compounds, score, score_lines, variants

from .published_scores import check

SENTENCES = ["Das ist ein wohl-bekannter Satz von hier.", "Er kam, sah und siegte; sie aber auch.", "Nein, nicht so!"]


def test_a_published_output_gets_its_known_scores_to_the_last_digit(corpora):
    """tests/soak/published_scores.py does the same for all lines of three outputs."""
    check(corpora, "sennrich2016", 300)


def values(hypothesis: str, reference: str) -> dict[str, float]:
    return {variant.name: variant.value for variant in variants([hypothesis], [reference])}


def test_a_compound_that_shares_a_half_gains_only_where_compounds_are_split():
    scores = values("a b c d Wort-Bild e f g h", "a b c d Wort-Blatt e f g h")
    whole = 100 * (8 / 9 * 6 / 8 * 4 / 7 * 2 / 6) ** (1 / 4)  # 9 tokens, one of them wrong
    split = 100 * (10 / 11 * 8 / 10 * 6 / 9 * 4 / 8) ** (1 / 4)  # 11 tokens, one of them wrong
    assert scores["BLEU-13a"] == pytest.approx(whole)
    assert scores["BLEU-tokens"] == pytest.approx(whole)
    assert scores["BLEU-split"] == pytest.approx(split)
    no_hyphen = values("a b c d Bild e f g h", "a b c d Blatt e f g h")
    assert no_hyphen["BLEU-split"] == no_hyphen["BLEU-tokens"]


def test_compounds_are_split_as_perl_does_it():
    assert _split_compounds(["a-b c-d-e 1-2-3-4", "-x y- - z--w", ""]) == [
        "a ##AT##-##AT## b c ##AT##-##AT## d-e 1 ##AT##-##AT## 2-3 ##AT##-##AT## 4",
        "-x y- - z ##AT##-##AT## -w",
        "",
    ]


def test_only_the_score_to_be_reported_has_the_signature_of_13a():
    scores = variants(SENTENCES, SENTENCES)
    signatures = [variant.signature for variant in scores]
    assert signatures[0] == score(SENTENCES, SENTENCES).bleu_signature
    assert len(set(signatures)) == len(signatures) == len({variant.label for variant in scores})
    assert [s for s in signatures if "tok:13a" in s and "case:mixed" in s] == signatures[:1]
    lower, intl, tokens, split = (variant.signature.split("|") for variant in scores[1:])
    assert {"case:lc", "tok:13a"} < set(lower)
    assert {"case:mixed", "tok:intl"} < set(intl)
    assert set(tokens) ^ set(split) == {"text:moses-de", "text:moses-de+split"}
    assert {"tok:none", f"sacremoses:{version('sacremoses')}"} < set(tokens)


def test_the_lines_have_every_score_with_label_and_signature_and_fit_a_terminal():
    references = [*SENTENCES[1:], SENTENCES[0]]
    main, (first, *others) = score(SENTENCES, references), variants(SENTENCES, references)
    lines = [line.plain for line in score_lines(main, [first, *others])]
    assert lines[0] == main.bleu_detail
    assert lines[1].strip() == first.label
    assert lines[2] == f"chrF2|{main.chrf_signature} = {main.chrf:.2f}"
    assert all(len(line) <= 110 for line in lines[3:])
    for variant, line, signature in zip(others, lines[4::2], lines[5::2], strict=True):
        assert line.startswith(f"{variant.name} ")
        assert line.endswith(f" {variant.value:.2f}  {variant.label}")
        assert signature.strip() == variant.signature


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(UserError, match="3 hypotheses cannot be scored against 2 references"):
        score(SENTENCES, SENTENCES[:2])
