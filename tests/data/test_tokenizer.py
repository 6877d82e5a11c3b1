"""The tokenizer loses nothing, and says when it cannot be what it should."""

import pytest

from rope_mt.data.tokenizer import EOS, Tokenizer, train_tokenizer
from rope_mt.errors import UserError

TEXT = ["The old dog sees the cat.", "Der alte Hund sieht die Katze.", "Größe und Maß", "a b c d e f"] * 50
HARD = [
    "",
    "…",
    "½ Liter „Äpfel“ – Straße, daß",
    "naïve café ﬁ",
    "😀 emoji 👩‍👩‍👧",
    "soft\u00adhyphen zero\u200bwidth",
    "  two  blanks  ",
    "tab\tand\u2028line",
    "日本語 кириллица",
    "\x00nul",
    "#@$%^&*()",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_tokenizer(TEXT, 300))


@pytest.mark.parametrize("sentence", HARD)
def test_what_goes_in_comes_out(tokenizer, sentence):
    [ids] = tokenizer.encode([sentence])
    assert ids[-1] == EOS
    assert tokenizer.decode([ids.tolist()]) == [sentence]


def test_real_text_comes_out_as_it_went_in(tokenizer, corpora):
    import lzma

    with lzma.open(corpora / "test" / "newstest2013.en-de.de.xz", "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()
    encoded = tokenizer.encode(lines)
    assert tokenizer.decode([ids.tolist() for ids in encoded]) == lines


def test_training_is_repeatable():
    assert train_tokenizer(TEXT, 300) == train_tokenizer(TEXT, 300)


def test_more_pieces_than_the_text_has_is_one_clear_line():
    with pytest.raises(UserError, match=r"cannot make 5000 pieces.*data\.vocab_size"):
        train_tokenizer(TEXT, 5000)


@pytest.mark.parametrize("damage", [lambda m: b"", lambda m: b"no model", lambda m: m[: len(m) // 2]])
def test_a_damaged_model_is_refused(tokenizer, damage):
    with pytest.raises(UserError, match="SentencePiece"):
        Tokenizer(damage(tokenizer.model))
