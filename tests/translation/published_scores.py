"""The scores of sacreBLEU 2.6.0 itself for published outputs for newstest2014, and a check that ours are the same."""

import lzma
from pathlib import Path

from rope_mt.translation.scoring import _bleu, _moses, score, variants

ALL_LINES = 3_003
# By system and number of first lines: BLEU of Moses tokens and BLEU 13a, each with details; intl, lower-cased, chrF2
PUBLISHED = {
    ("sennrich2016", 300): (
        ("24.5144", "55.9/30.2/18.6/11.5 (BP = 1.000 ratio = 1.080 hyp_len = 6363 ref_len = 5893)"),
        ("24.7900", "56.0/30.5/18.8/11.7 (BP = 1.000 ratio = 1.082 hyp_len = 6391 ref_len = 5906)"),
        ("25.1047", "25.5457", "57.2817"),
    ),
    ("sennrich2016", ALL_LINES): (
        ("25.4143", "57.4/31.4/19.2/12.1 (BP = 1.000 ratio = 1.026 hyp_len = 64693 ref_len = 63075)"),
        ("25.3579", "57.0/31.3/19.2/12.1 (BP = 1.000 ratio = 1.035 hyp_len = 64911 ref_len = 62687)"),
        ("26.0285", "25.8774", "56.7718"),
    ),
    ("bpe2bpe", ALL_LINES): (
        ("20.1105", "51.7/25.6/14.5/8.6 (BP = 1.000 ratio = 1.047 hyp_len = 66065 ref_len = 63075)"),
        ("20.0733", "51.4/25.5/14.5/8.6 (BP = 1.000 ratio = 1.057 hyp_len = 66276 ref_len = 62687)"),
        ("20.7336", "20.5383", "51.8817"),
    ),
    ("char2char", ALL_LINES): (
        ("19.7579", "52.8/25.5/14.0/8.1 (BP = 1.000 ratio = 1.007 hyp_len = 63501 ref_len = 63075)"),
        ("19.7144", "52.5/25.4/14.0/8.1 (BP = 1.000 ratio = 1.016 hyp_len = 63691 ref_len = 62687)"),
        ("20.4401", "20.1577", "52.0576"),
    ),
}


def read_lines(corpora: Path, name: str) -> list[str]:
    with lzma.open(corpora / f"{name}.xz", "rt", encoding="utf-8", newline="\n") as file:
        return [line.removesuffix("\n") for line in file]


def check(corpora: Path, system: str, n_lines: int) -> None:
    """Compare every digit."""
    of_tokens, of_text, (intl, lower, chrf) = PUBLISHED[system, n_lines]
    references, reference_tokens, output, output_tokens = (
        read_lines(corpora, name)[:n_lines]
        for name in (
            "test/newstest2014.en-de.de",
            "bleu-check/newstest2014.ref.tok.de",
            f"bleu-check/newstest2014.{system}.detok.de",
            f"bleu-check/newstest2014.{system}.tok.de",
        )
    )
    assert _moses(references, "de") == reference_tokens
    tokens, _ = _bleu(output_tokens, reference_tokens, tokenize="none")
    assert (f"{tokens.score:.4f}", tokens.format().split(" ", 3)[3]) == of_tokens
    ours = score(output, references)
    assert f"{ours.bleu:.4f}" == of_text[0]
    assert ours.bleu_detail == f"BLEU|{ours.bleu_signature} = {ours.bleu:.2f} {of_text[1]}"
    assert f"{ours.chrf:.4f}" == chrf
    values = {variant.name: variant.value for variant in variants(output, references)}
    assert values["BLEU-13a"] == ours.bleu
    assert [f"{values[name]:.4f}" for name in ("BLEU-intl", "BLEU-13a-lc")] == [intl, lower]
    assert 0.3 < values["BLEU-split"] - values["BLEU-tokens"] < 1.0  # the offset that papers know
