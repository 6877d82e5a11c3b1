"""The law of odd text: n lines in, n lines out, and the other lines as if the odd ones were not there.

One table of lines for all ways in: training text, validation and test sets, files and pipes to be translated.
"""

import gzip
import itertools
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from rope_mt.config.data import DataConfig
from rope_mt.data import checks, corpus, text
from rope_mt.data import prepare as preparing
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare, report
from rope_mt.data.tokenizer import LONGEST, Tokenizer, train_tokenizer
from rope_mt.errors import UserError
from rope_mt.system.files import write_whole

from ..data.small_text import ENGLISH, GERMAN, MODEL, pairs

BOM = b"\xef\xbb\xbf"
ODD = {  # name -> the line; why training skips it, if it does
    "nothing": (b"", "empty"),
    "blanks, also beyond ASCII": (" \t\u00a0\u3000\u2003".encode(), "empty"),
    "all that str.splitlines cuts at": ("\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e".encode(), "empty"),
    "words without end": (b"the old dogs see " * 6_200, "too long"),
    "characters without a blank": (b"x" * 65_537, "too long"),
    "a pile of accents": (("a" + "\u0301\u0316" * 8_200).encode(), "too long"),
    "a byte that UTF-8 has not": (b"br\xffken", "not UTF-8"),
    "a lone surrogate": (b"\xed\xa0\x80", "not UTF-8"),
    "a character cut off": (b"cut \xf0\x9f", "not UTF-8"),
    "NUL alone": (b"\0", ""),
    "CRs and a NUL": (b"one\rtw\0o\r\r\r", ""),
    "line breaks of Unicode": ("a\u2028b\u2029c\x85d\x0be\x0cf".encode(), ""),
    "a byte order mark inside": ("a\ufeffb".encode(), ""),
    "control characters": (b"\x1b[31m \x07\x08\x7f", ""),
    "an emoji with joiners": ("👩‍👩‍👧‍👦 🐶🏽".encode(), ""),
    "right to left": ("\u200f\u202eabc\u202c שלום".encode(), ""),
    "a combining character alone": ("\u0301".encode(), ""),
    "names of pieces": (b"<s> </s> <pad> <unk> <0x0A>", ""),
    "the other language": (b"Die alten Hunde sind nicht auf der Katze", ""),
}
LONG, BROKEN, EMPTY = (
    [name for name, (_, why) in ODD.items() if why == reason] for reason in ("too long", "not UTF-8", "empty")
)
Pairs = list[tuple[bytes, bytes, str]]  # source, target, and the name of the odd line among them, "" if there is none


def odd_pairs(names: list[str]) -> Pairs:
    """For each odd line a plain pair, a pair with it as source, one with it as target and, if it is short, as both."""
    plain = itertools.cycle((src.encode(), tgt.encode()) for src, tgt in zip(ENGLISH[:7], GERMAN[:7], strict=True))
    made = []
    for name in names:
        odd = ODD[name][0]
        made += [(*next(plain), ""), (odd, next(plain)[1], name), (next(plain)[0], odd, name)]
        if len(odd) < 1_000:
            made.append((odd, odd, name))
    return [*made, (b"last", b"last", "")]


def write(prefix: Path, of: Pairs) -> str:
    """Both files begin with a byte order mark, and their last lines have no end."""
    for side, lang in enumerate(("en", "de")):
        Path(f"{prefix}.{lang}").write_bytes(BOM + b"\n".join(pair[side] for pair in of))
    return str(prefix)


@pytest.fixture(scope="module")
def odd_corpus(tmp_path_factory) -> tuple[DataConfig, Pairs, Pairs]:
    """Training text of all odd lines, and a validation and test set of those that are UTF-8."""
    folder = tmp_path_factory.mktemp("odd")
    train, test = odd_pairs([*ODD]), odd_pairs([name for name in ODD if name not in BROKEN])
    prefixes = write(folder / "train", train), write(folder / "test", test)
    cfg = DataConfig("odd", prefixes[0], prefixes[1], prefixes[1], dir=str(folder / "data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "MAX_BROKEN", 1)
        patch.setattr(preparing, "train_tokenizer", lambda sentences, *_: [*sentences] and MODEL)
        patch.setattr(preparing, "CHUNK", 50)
        prepare(cfg)
    return cfg, train, test


# ---- training text --------------------------------------------------------------------------------------------------


def test_training_keeps_each_pair_beside_its_other_side_and_counts_what_it_drops(odd_corpus):
    cfg, train, _ = odd_corpus
    prepared = prepare(cfg)
    reasons = [name and ODD[name][1] for _, _, name in train]
    kept = [pair for pair, reason in zip(train, reasons, strict=True) if not reason]
    assert pairs(prepared) == [(text.normalize(src.decode()), text.normalize(tgt.decode())) for src, tgt, _ in kept]
    assert prepared.meta["dropped"] == Counter(filter(None, reasons))
    assert prepared.meta["read"] == len(train)
    [files] = corpus.locate(cfg).train
    assert sorted([*report(prepared)][2:6]) == sorted(file_warnings(train, *files))


@pytest.mark.parametrize(("kind", "vocab_size"), [("bpe", 330), ("unigram", 320)])
def test_a_tokenizer_is_trained_on_odd_text(odd_corpus, kind, vocab_size):
    sentences = [sentence for pair in pairs(prepare(odd_corpus[0])) for sentence in pair]
    tokenizer = Tokenizer(train_tokenizer(sentences, vocab_size, kind))
    assert tokenizer.decode(tokenizer.encode(sentences)) == sentences


# ---- validation and test sets ---------------------------------------------------------------------------------------


def file_warnings(rows: Pairs, *paths: Path) -> list[str]:
    warnings = [f"{path} begins with a byte order mark, which is skipped" for path in paths]
    for side, path in enumerate(paths):
        nul = sum(b"\0" in row[side] for row in rows)
        warnings.append(f"{path} has {nul} lines with NUL characters: {text.WIDE_UNMARKED}")
    return warnings


def test_a_test_set_has_a_hypothesis_for_each_line_and_is_read_as_it_was_written(odd_corpus, translators, tmp_path):
    cfg, _, test = odd_corpus
    warnings: list[str] = []
    [files] = corpus.find(cfg, "test")
    src, ref = text.read_test_set([files], warnings.append)
    assert src == [line.decode().rstrip("\r") for line, _, _ in test]
    assert ref == [line.decode().rstrip("\r") for _, line, _ in test]
    assert warnings == file_warnings(test, *files)
    hypotheses = translators["rope"].translate(src)
    plain = [n for n, line in enumerate(src) if line in ENGLISH]
    answers = [hypotheses[n] for n in plain]
    assert answers == translators["rope"].translate([src[n] for n in plain])
    assert all(answers)
    assert [hypotheses[n] for n, line in enumerate(src) if not line.strip()] == [""] * 2 * len(EMPTY)
    for name, lines in (("src", src), ("ref", ref), ("hyp", hypotheses)):
        write_whole(tmp_path / name, "".join(line + "\n" for line in lines))
    assert text.read_test_set([(tmp_path / "src", tmp_path / "hyp")]) == (src, hypotheses)
    assert text.read_test_set([(tmp_path / "ref", tmp_path / "hyp")]) == (ref, hypotheses)


def test_lines_of_a_set_that_are_cut_are_named_by_file_and_line(odd_corpus, tmp_path):
    cfg, _, test = odd_corpus
    [files] = corpus.find(cfg, "test")
    expected = file_warnings(test, *files)
    for side, use in enumerate(("translated", "in the loss")):
        long = [n for n, pair in enumerate(test, start=1) if pair[2] in LONG and len(pair[side]) > 10_000]
        lines = f"lines {', '.join(map(str, long))}"
        texts = text.read_test_set([files])[side]
        unseen = Counter(name for line in texts for name in text.oddities(line))
        assert len(unseen) >= 2
        expected.append(f"{files[side]}: {text.tally(unseen)}")
        expected.append(f"{files[side]}, {lines}: only the first 1,024 tokens of each are {use}")
    assert checks.warnings_about([files], Tokenizer(MODEL), "en", "de") == expected[:-2]
    other = tmp_path / "other.en", tmp_path / "other.de"
    for path, line in zip(other, ("the dogs " * 600, "kurz"), strict=True):
        path.write_text(f"fine\n{line}\n")
    expected.append(f"{other[0]}, line 2: only the first 1,024 tokens of each are translated")
    assert checks.warnings_about([files, other], Tokenizer(MODEL), "en", "de", loss=True) == expected


def test_the_loss_is_of_every_line_but_of_no_more_than_its_first_tokens(odd_corpus):
    cfg, _, test = odd_corpus
    data = TranslationData(cfg, prepare(cfg), corpus.locate(cfg).valid, seed=1)
    batches = [*data.val_dataloader()]
    assert sum(len(batch.src) for batch in batches) == len(test)
    assert max(max(batch.src.shape[1], batch.tgt_in.shape[1]) for batch in batches) == LONGEST + 1
    tokens = data.tokenizer.encode([text.normalize(line) for line in data.valid_ref])
    assert sum(batch.n_tokens for batch in batches) == sum(min(len(ids), LONGEST) + 1 for ids in tokens)


# ---- translate ------------------------------------------------------------------------------------------------------


def test_translate_answers_each_line_by_one(translate):
    plain = [line.encode() for line in ENGLISH[: len(ODD)]]
    expected, warnings = translate(b"\n".join(plain))
    assert (len(expected), warnings) == (len(plain), [])
    mixed = [line for pair in zip(plain, [odd for odd, _ in ODD.values()], strict=True) for line in pair]
    out, warnings = translate(BOM + b"\n".join(mixed))
    Path("in").write_bytes(BOM + b"\n".join(mixed))
    assert translate(input="in") == (out, [line.replace("standard input", "in") for line in warnings])
    assert len(out) == len(mixed)
    assert out[::2] == expected
    assert not any(b"\r" in line for line in out)
    numbers = {name: 2 * n + 2 for n, name in enumerate(ODD)}  # of the lines, from 1
    assert [out[numbers[name] - 1] for name in EMPTY] == [b""] * len(EMPTY)
    nul = sum(b"\0" in line for line in mixed)
    assert warnings == [
        "rope-mt: standard input begins with a byte order mark, which is skipped",
        f"rope-mt: standard input has {nul} lines with NUL characters: {text.WIDE_UNMARKED}",
        f"rope-mt: 3 of {len(mixed)} lines are not UTF-8; U+FFFD stands for what is not",
        f"rope-mt: lines {', '.join(str(numbers[name]) for name in LONG)}: "
        "only the first 1,024 tokens of each are translated",
    ]


@pytest.mark.parametrize("wrong", [11, 9])
def test_translate_warns_of_lines_that_are_in_the_target_language(translate, wrong):
    lines = [b"Die Hunde und Katzen sind auf dem Dach"] * wrong + [b"The dogs and cats are on the roof"] * (20 - wrong)
    warning = f"rope-mt: {wrong} of 20 lines look like de, and this model translates en to de"
    assert translate(b"\n".join(lines))[1] == ([warning] if wrong > 10 else [])


# ---- lines without end, other encodings -----------------------------------------------------------------------------


def test_a_byte_order_mark_is_no_line_and_changes_none_and_a_last_line_without_end_counts(translate, tmp_path):
    assert translate(BOM)[0] == []
    path = tmp_path / "in"
    for content, n in ((b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\n\n", 2), (b"a\n\nb", 3), (b"\xef\xbb", 1)):
        for marks in range(3):
            path.write_bytes(marks * BOM + content)
            lines = content.split(b"\n")[:n]
            assert text.size([path, path]) == (2 * n, 2 * sum(len(line) + 1 for line in lines))
            assert [*text.lines(path)] == lines


def test_a_line_longer_than_the_limit_is_refused_before_it_is_in_memory(translate, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONGEST_LINE", 1 << 16)
    longest = b"x" * (1 << 16)
    packed = tmp_path / "a.en.gz"
    packed.write_bytes(gzip.compress(longest + b"\n" + longest[1:] + b"\r\n" + longest))
    assert [len(line) for line in text.lines(packed)] == [1 << 16, (1 << 16) - 1, 1 << 16]
    packed.write_bytes(gzip.compress(b"fine\n" + b"x" * (1 << 24)))
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"^{packed}, line 2, is longer than 0 MiB: is this text\?$"):
        list(text.lines(packed))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(UserError, match=r"^standard input, line 2, is longer than 0 MiB: is this text\?$"):
        translate(b"fine\n" + longest + b"x")


def test_wide_characters_are_named_and_not_taken_for_text_with_nuls(tmp_path):
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        (tmp_path / "a.en").write_text("\ufeffall in ASCII\n", encoding)
        with pytest.raises(UserError, match=rf"a\.en is {encoding[:6].upper()}: make UTF-8 of it"):
            list(text.lines(tmp_path / "a.en"))
