"""The tokenizer loses nothing, is the same in every process, and refuses text and models that it cannot use."""

import hashlib
import itertools
import json
import lzma
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rope_mt.data.text import normalize
from rope_mt.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, train_tokenizer
from rope_mt.errors import UserError

KINDS = ("bpe", "unigram")
TEXT = ["The old dog sees the cat.", "Der alte Hund sieht die Katze.", "Größe und Maß", "a b c d e f"] * 50
TEXT += ["A house is an older thing than a street, and so are its stones and its roof."] * 20
TEXT += ["Das Haus ist älter als die Straße, und seine Steine und sein Dach sind es auch."] * 20
HARD = ["", "…", "½ Liter „Äpfel“ – Straße, daß", "naïve café ﬁ", "😀 emoji 👩‍👩‍👧", "日本語 кириллица"]
HARD += ["soft\u00adhyphen zero\u200bwidth", "  two  blanks  ", "tab\tand\u2028line", "\x00nul", "#@$%^&*()"]
HARD += ["<s> </s> <unk> <pad> <0x41> ⁇", "\ufffd \ufeff \U0010ffff"]
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"))
SENTENCE = ANY.map(normalize).filter(bool)
MODELS = {kind: Tokenizer(train_tokenizer(TEXT, 310, kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def tokenizer(request) -> Tokenizer:
    return MODELS[request.param]


@pytest.fixture(scope="module")
def real(corpora) -> list[str]:
    """Lines of news and of a chat, in both languages."""
    lines = []
    for name in ("test/newstest2013.en-de.en", "test/newstest2013.en-de.de", "train/bcontrast-chat.en-de.en"):
        with lzma.open(corpora / f"{name}.xz", "rt", encoding="utf-8", newline="\n") as file:
            lines += itertools.islice((line.rstrip("\n") for line in file), 500)
    return lines


@pytest.mark.parametrize("kind", KINDS)
@given(sentences=st.lists(ANY))
@example(sentences=HARD)
def test_any_text_is_encoded_without_loss(kind, sentences):
    encoded = MODELS[kind].encode(sentences)
    assert MODELS[kind].decode(encoded) == sentences
    assert all(UNK < id < len(MODELS[kind]) and id not in (BOS, EOS) for ids in encoded for id in ids)


def test_pad_bos_and_eos_are_ignored(tokenizer):
    [ids] = tokenizer.encode(["Der alte Hund"])
    assert tokenizer.decode([[BOS, *ids, EOS, PAD, PAD], [EOS]]) == ["Der alte Hund", ""]


def test_the_ids_do_not_depend_on_the_threads(tokenizer):
    lines = [" ".join(TEXT[n % 7 :][: n % 5]) for n in range(300)]
    alone = [tokenizer.encode([line])[0] for line in lines]
    for threads in (1, 5):
        assert tokenizer.encode(lines, threads=threads) == alone
    assert tokenizer.encode([], threads=3) == []


# ---- sentences that are joined ------------------------------------------------------------------------------------


@given(first=SENTENCE, second=SENTENCE)
def test_joined_sentences_have_the_ids_of_both_in_bpe(first, second):
    one, two, both = MODELS["bpe"].encode([first, second, f"{first} {second}"])
    assert both == one + two


@pytest.mark.parametrize("kind", KINDS)
@given(first=SENTENCE, second=SENTENCE)
def test_joined_ids_are_the_joined_text(kind, first, second):
    one, two = MODELS[kind].encode([first, second])
    assert MODELS[kind].decode([one + two]) == [f"{first} {second}"]


@pytest.mark.parametrize("kind", KINDS)
def test_joined_sentences_of_real_text_have_the_ids_of_both(kind, real):
    lines = [line for line in map(normalize, real) if line]
    tokenizer = Tokenizer(train_tokenizer(lines, 1000, kind))  # small enough to be ambiguous
    single = tokenizer.encode(lines)
    double = tokenizer.encode([f"{a} {b}" for a, b in itertools.pairwise(lines)])
    other = sum(one + two != both for one, two, both in zip(single, single[1:], double, strict=False))
    # where two ways of cutting a word are equally likely, rounding decides, which depends on the text before
    assert other <= (0 if kind == "bpe" else len(lines) / 500)


# ---- training -----------------------------------------------------------------------------------------------------

ELSEWHERE = """
import json, sys
from rope_mt.data.tokenizer import train_tokenizer
text, kinds = json.load(sys.stdin)
print(*(train_tokenizer(text, 310, kind).hex() for kind in kinds))
"""


def test_training_is_repeatable_here_and_in_another_process():
    command = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, input=json.dumps([TEXT, KINDS]), capture_output=True, check=True, text=True)
    for kind, elsewhere in zip(KINDS, done.stdout.split(), strict=True):
        assert train_tokenizer(TEXT, 310, kind) == bytes.fromhex(elsewhere) == MODELS[kind].model
        assert len(MODELS[kind]) == 310
        assert MODELS[kind].sha256 == hashlib.sha256(MODELS[kind].model).hexdigest()


# ---- what is refused ----------------------------------------------------------------------------------------------


LONG = "äöü " * 700  # 4,900 bytes
SIGNS = "".join(map(chr, range(0x0900, 0x0D00)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (["good morning"] * 9, r"it is enough for 2\d\d at most, lower data\.vocab_size"),
        ([SIGNS[n : n + 30] for n in range(0, 1024, 30)], r"take 1\d\d\d at least, raise data\.vocab_size"),
        ([LONG] * 3, "all lines have more than 4,192 bytes, the most that SentencePiece reads of a line"),
    ],
)
def test_a_limit_of_sentencepiece_is_named_with_the_setting_that_mends_it(kind, text, reason):
    with pytest.raises(UserError, match=f"^cannot make 400 pieces of this text: .*{reason}$"):
        train_tokenizer(text, 400, kind)


def test_lines_that_sentencepiece_passes_over_are_counted():
    told: list[str] = []
    train_tokenizer([*TEXT, LONG, LONG], 310, warn=told.append)
    [line] = told
    assert line.startswith(f"2 of {len([*TEXT]) + 2} lines have more than 4,192 bytes")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [UserError("line 7 is bad"), KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_an_error_in_the_text_is_told_as_it_is(kind, error):
    def broken() -> Iterator[str]:
        yield from TEXT
        raise error

    with pytest.raises(type(error)) as caught:
        train_tokenizer(broken(), 310, kind)
    assert caught.value is error
