"""The law of odd text: n lines in, n lines out, and the others as if the odd ones were not there.

One table of lines for all ways in: training text, validation and test sets, files and pipes to be translated.
"""

import gzip
import io
import itertools
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rope_mt.cli.main import main
from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import RopeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import checks, corpus, text
from rope_mt.data import prepare as preparing
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare, report
from rope_mt.data.tokenizer import LONGEST, PAD, Tokenizer
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.system.files import write_whole
from rope_mt.translation.test_sets import score_translations
from rope_mt.translation.translator import Translator

from ..data.small_text import ENGLISH, GERMAN, MODEL, pairs

BOM = b"\xef\xbb\xbf"
ODD = {  # name -> the line; why training leaves it out, if it does
    "nothing": (b"", "empty"),
    "blanks": (b" \t  ", "empty"),
    "blanks beyond ASCII": ("\u00a0\u3000\u2003".encode(), "empty"),
    "all that str.splitlines cuts at": ("\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e".encode(), "empty"),
    "a megabyte of words": (b"the old dogs see " * 62_000, "too long"),
    "characters without a blank": (b"x" * 65_537, "too long"),
    "a pile of accents": (("a" + "\u0301\u0316" * 8_200).encode(), "too long"),
    "a byte that UTF-8 has not": (b"br\xffken", "not UTF-8"),
    "a lone surrogate": (b"\xed\xa0\x80", "not UTF-8"),
    "a character cut off": (b"cut \xf0\x9f", "not UTF-8"),
    "NUL": (b"a\0b", ""),
    "NUL alone": (b"\0", ""),
    "CR inside": (b"one\rtwo", ""),
    "CRs at the end": (b"end\r\r\r", ""),
    "line breaks of Unicode": ("a\u2028b\u2029c\x85d\x0be\x0cf".encode(), ""),
    "a byte order mark inside": ("a\ufeffb".encode(), ""),
    "control characters": (b"\x1b[31m \x07\x08\x7f", ""),
    "an emoji with joiners": ("👩‍👩‍👧‍👦 🐶🏽".encode(), ""),
    "right to left": ("\u200f\u202eabc\u202c שלום".encode(), ""),
    "a combining character alone": ("\u0301".encode(), ""),
    "names of pieces": (b"<s> </s> <pad> <unk> <0x0A>", ""),
    "the other language": (b"Die alten Hunde sind nicht auf der Katze", ""),
}
LONG = [name for name, (_, why) in ODD.items() if why == "too long"]
BROKEN = [name for name, (_, why) in ODD.items() if why == "not UTF-8"]
SEARCH = SearchConfig(beam=2, length_penalty=0.6, max_len_a=0.0, max_len_b=7)


@dataclass
class Text:
    """Lines of both sides, and which are odd: the source, the target or, of those that are short, both."""

    src: list[bytes]
    tgt: list[bytes]
    names: list[str]  # "" for a plain pair

    @classmethod
    def of(cls, names: list[str]) -> "Text":
        found = cls([], [], [])
        plain = itertools.cycle(zip(ENGLISH[:7], GERMAN[:7], strict=True))
        for name in names:
            odd = ODD[name][0]
            both = [(odd, odd, name)] if len(odd) < 1_000 else []
            for src, tgt, known in [(None, None, ""), (odd, None, name), (None, odd, name), *both]:
                usual = next(plain)
                found.src.append(usual[0].encode() if src is None else src)
                found.tgt.append(usual[1].encode() if tgt is None else tgt)
                found.names.append(known)
        return found

    def write(self, prefix: Path) -> str:
        """Both files begin with a byte order mark, and their last lines have no end."""
        prefix.parent.mkdir(parents=True, exist_ok=True)
        for lang, lines in (("en", self.src), ("de", self.tgt)):
            Path(f"{prefix}.{lang}").write_bytes(BOM + b"\n".join([*lines, b"last"]))
        self.src, self.tgt, self.names = [*self.src, b"last"], [*self.tgt, b"last"], [*self.names, ""]
        return str(prefix)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[DataConfig, Text, Text]:
    """Training text of all odd lines, and a validation set of those that are UTF-8."""
    folder = tmp_path_factory.mktemp("odd")
    train, test = Text.of([*ODD]), Text.of([name for name in ODD if name not in BROKEN])
    named = train.write(folder / "train"), test.write(folder / "test")
    cfg = DataConfig("odd", named[0], named[1], named[1], dir=str(folder / "data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "MAX_BROKEN", 1)
        patch.setattr(preparing, "train_tokenizer", lambda sentences, *_: [*sentences] and MODEL)
        patch.setattr(preparing, "CHUNK_BYTES", 1 << 20)
        prepare(cfg)
    return cfg, train, test


@pytest.fixture(scope="module")
def model(made, tmp_path_factory) -> Path:
    """A checkpoint that is not trained."""
    cfg = TrainConfig(
        position=RopeConfig(),
        model=ModelConfig("test", d_model=16, d_ff=24, n_heads=2, n_layers=1, dropout=0.0),
        data=made[0],
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=5),
        trainer=TrainerConfig(max_steps=1, val_every=1, val_sentences=1, device="cpu", precision="fp32"),
        search=SEARCH,
        tracking=TrackingConfig("none"),
    )
    torch.manual_seed(0)
    tokenizer = Tokenizer(MODEL)
    weights = Transformer(cfg.model, cfg.position, len(tokenizer), PAD).state_dict()
    path = tmp_path_factory.mktemp("model") / "model"
    checkpoint.write(path, Checkpoint(cfg, tokenizer, weights, 1, path))
    return path


@pytest.fixture
def translate(model, tmp_path, monkeypatch, capsysbinary) -> Callable[..., tuple[list[bytes], list[str]]]:
    """The command: the lines it puts out, and what it says on standard error."""

    def run(stdin: bytes, *words: str, code: int = 0) -> tuple[list[bytes], list[str]]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        assert main(["translate", str(model), *words]) == code
        out, err = capsysbinary.readouterr()
        assert not out or out.endswith(b"\n")
        return out.split(b"\n")[:-1], err.decode().splitlines()

    return run


# ---- training text --------------------------------------------------------------------------------------------------


def test_training_keeps_each_pair_beside_its_other_side_and_counts_what_it_drops(made):
    cfg, train, _ = made
    prepared = prepare(cfg)
    kept, dropped = [], Counter()
    for src, tgt, name in zip(train.src, train.tgt, train.names, strict=True):
        why = name and ODD[name][1]
        if why:
            dropped[why] += 1
        else:
            kept.append((text.normalize(src.decode()), text.normalize(tgt.decode())))
    assert pairs(prepared) == kept
    assert prepared.meta["dropped"] == dropped
    assert prepared.meta["read"] == len(train.names)
    said = [*report(prepared)]
    assert "2 files began with a byte order mark, which was skipped" in said
    nul = sum("\0" in src or "\0" in tgt for src, tgt in kept)
    assert f"{nul} pairs with NUL characters: is this UTF-16 without a byte order mark?" in said


def test_a_tokenizer_is_trained_on_odd_text(made, tmp_path, monkeypatch):
    cfg, _, _ = made
    monkeypatch.setattr(preparing, "MAX_BROKEN", 1)
    for kind in ("bpe", "unigram"):
        trained = prepare(
            DataConfig(
                "t",
                cfg.train,
                cfg.valid,
                cfg.test,
                vocab_size=330 if kind == "bpe" else 320,
                tokenizer=kind,
                dir=str(tmp_path),
            )
        )
        assert pairs(trained) == pairs(prepare(cfg))


# ---- validation and test sets ---------------------------------------------------------------------------------------


def test_a_test_set_has_a_hypothesis_for_each_line_and_is_read_back_as_it_was_written(made, model, tmp_path):
    cfg, _, test = made
    said: list[str] = []
    files = corpus.find(cfg, "test")
    src, ref = text.read_test_set(files, said.append)
    assert src == [line.decode().rstrip("\r") for line in test.src]
    assert ref == [line.decode().rstrip("\r") for line in test.tgt]
    assert said == marked(files[0], test)
    ckpt = checkpoint.load(model)
    translator = Translator.of(ckpt, SEARCH, torch.device("cpu"), "fp32")
    hypotheses, _ = score_translations(translator, src, ref)
    usual = [n for n, line in enumerate(test.src) if line.decode() in ENGLISH]
    blank = [name for name, (_, why) in ODD.items() if why == "empty"]
    assert [hypotheses[n] for n in usual] == translator.translate([src[n] for n in usual])
    assert all(hypotheses[n] for n in usual)
    assert [hypotheses[n] for n, line in enumerate(src) if not line.strip()] == [""] * 2 * len(blank)
    for name, lines in (("src", src), ("ref", ref), ("hyp", hypotheses)):
        write_whole(tmp_path / name, "".join(line + "\n" for line in lines))
    for name, lines in (("src", src), ("ref", ref)):
        assert text.read_test_set([(tmp_path / name, tmp_path / "hyp")]) == (lines, hypotheses)


def marked(paths: tuple[Path, Path], of: Text) -> list[str]:
    """What is told of the files themselves."""
    said = [f"{path} begins with a byte order mark, which is skipped" for path in paths]
    for path, side in zip(paths, (of.src, of.tgt), strict=True):
        nul = sum(b"\0" in line for line in side)
        said.append(f"{path} has {nul} lines with NUL characters: {text.WIDE_UNMARKED}")
    return said


def test_what_is_not_read_of_a_set_is_named_by_file_and_line(made, tmp_path):
    cfg, _, test = made
    [(src, ref)] = files = corpus.find(cfg, "test")
    long = [n for n, name in enumerate(test.names, start=1) if name in LONG]
    marks = marked((src, ref), test)
    translated, in_the_loss = (
        f"{path}, lines {', '.join(str(n) for n in long if len(side[n - 1]) > 10_000)}: "
        f"only the first 1,024 tokens of each are {kind}"
        for path, side, kind in ((src, test.src, "translated"), (ref, test.tgt, "in the loss"))
    )
    assert checks.warnings_about(files, Tokenizer(MODEL), "en", "de") == [*marks, translated]
    other = tmp_path / "other.en", tmp_path / "other.de"
    for path, line in zip(other, ("the dogs " * 600, "kurz"), strict=True):
        path.write_text(f"fine\n{line}\n")
    assert checks.warnings_about([*files, other], Tokenizer(MODEL), "en", "de", loss=True) == [
        *marks,
        translated,
        in_the_loss,
        f"{other[0]}, line 2: only the first 1,024 tokens of each are translated",
    ]


def test_the_loss_is_of_every_line_but_of_no_more_than_its_first_tokens(made):
    cfg, _, test = made
    data = TranslationData(cfg, prepare(cfg), corpus.locate(cfg).valid, seed=1)
    batches = [*data.val_dataloader()]
    assert sum(len(batch.src) for batch in batches) == len(test.src)
    assert max(max(batch.src.shape[1], batch.tgt_in.shape[1]) for batch in batches) == LONGEST + 1
    tokens = data.tokenizer.encode([text.normalize(line) for line in data.valid_ref])
    assert sum(batch.n_tokens for batch in batches) == sum(min(len(ids), LONGEST) + 1 for ids in tokens)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("side", ["en", "de"])
def test_a_set_that_is_not_utf8_is_refused_with_file_and_line(tmp_path, name, side):
    for lang in ("en", "de"):
        odd = ODD[name][0] if lang == side else b"fine"
        (tmp_path / f"test.{lang}").write_bytes(BOM + b"\xe2\x80\xa8\n\r\n" + odd + b"\nfine")
    with pytest.raises(UserError, match=rf"test\.{side}, line 3, is not UTF-8"):
        text.read_test_set([(tmp_path / "test.en", tmp_path / "test.de")])


# ---- translate ------------------------------------------------------------------------------------------------------


def test_translate_answers_each_line_by_one(translate, tmp_path):
    usual = [line.encode() for line in ENGLISH[: len(ODD)]]
    expected, said = translate(b"\n".join(usual))
    assert len(expected) == len(usual)
    assert said == []
    mixed = [line for pair in zip(usual, [odd for odd, _ in ODD.values()], strict=True) for line in pair]
    out, said = translate(BOM + b"\n".join(mixed))
    (tmp_path / "in").write_bytes(BOM + b"\n".join(mixed))
    of_file = translate(b"", f"translate.input={tmp_path / 'in'}")
    assert of_file == (out, [line.replace("standard input", str(tmp_path / "in")) for line in said])
    assert len(out) == len(mixed)
    assert out[::2] == expected
    assert not any(b"\r" in line for line in out)
    blank = [n for n, (_, why) in enumerate(ODD.values()) if why == "empty"]
    assert [out[2 * n + 1] for n in blank] == [b""] * len(blank)
    long = [2 * n + 2 for n, name in enumerate(ODD) if name in LONG]
    nul = sum(b"\0" in line for line in mixed)
    assert said == [
        "rope-mt: standard input begins with a byte order mark, which is skipped",
        f"rope-mt: standard input has {nul} lines with NUL characters: {text.WIDE_UNMARKED}",
        f"rope-mt: 3 of {len(mixed)} lines are not UTF-8; U+FFFD stands for what is not",
        f"rope-mt: lines {', '.join(map(str, long))}: only the first 1,024 tokens of each are translated",
    ]


def test_a_mark_is_no_line_and_changes_none(translate, tmp_path):
    assert translate(BOM)[0] == []
    for content, lines in ((b"", 0), (b"\n", 1), (b"a\n\nb", 3), (b"\xef\xbb", 1)):
        for marks in range(3):
            (tmp_path / "in").write_bytes(marks * BOM + content)
            assert text.count(tmp_path / "in") == lines
            assert [*text.lines(tmp_path / "in")] == content.split(b"\n")[:lines]


# ---- lines without end, other encodings -----------------------------------------------------------------------------


def test_a_line_longer_than_the_limit_is_refused_before_it_is_in_memory(translate, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONGEST_LINE", 1 << 16)
    just = b"x" * (1 << 16)
    packed = tmp_path / "a.en.gz"
    packed.write_bytes(gzip.compress(just + b"\n" + just[1:] + b"\r\n" + just))
    assert [len(line) for line in text.lines(packed)] == [1 << 16, (1 << 16) - 1, 1 << 16]
    packed.write_bytes(gzip.compress(b"fine\n" + b"x" * (1 << 24)))
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"^{packed}, line 2, is longer than 0 MiB: is this text\?$"):
        list(text.lines(packed))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert translate(b"fine\n" + just + b"x", code=2) == (
        [],
        ["rope-mt: standard input, line 2, is longer than 0 MiB: is this text?"],
    )


def test_wide_characters_are_named_and_not_taken_for_text_with_nuls(tmp_path):
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        (tmp_path / "a.en").write_text("\ufeffall in ASCII\n", encoding)
        with pytest.raises(UserError, match=rf"a\.en is {encoding[:6].upper()}: make UTF-8 of it"):
            list(text.lines(tmp_path / "a.en"))


# ---- the wrong direction --------------------------------------------------------------------------------------------


RIGHT = [
    (f"The {n} dogs and cats are on the roof", f"Die {n} Hunde und Katzen sind auf dem Dach, nicht im Haus")
    for n in range(20)
]


def exchanged(pairs_: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(tgt, src) for src, tgt in pairs_]


def test_pairs_are_told_from_exchanged_ones():
    assert checks.directions(RIGHT, "en", "de") == [1] * 20
    assert checks.directions(exchanged(RIGHT), "en", "de") == [-1] * 20
    assert checks.directions(exchanged(RIGHT), "de", "en") == [1] * 20
    unsure = [("Der Spiegel", "The Guardian"), ("", ""), ("OK", "OK"), *((src, src) for pair in RIGHT for src in pair)]
    assert {*checks.directions(unsure, "en", "de")} == {0}
    assert {*checks.directions(exchanged(RIGHT), "en", "fr")} == {0}


def test_real_pairs_are_hardly_ever_taken_for_exchanged_ones(corpora):
    for name in ("multi30k-val", "newstest2014", "ted-iwslt17-test"):
        source, target = (corpora / "test" / f"{name}.en-de.{lang}.xz" for lang in ("en", "de"))
        lines = [*zip(*text.read_test_set([(source, target)]), strict=True)]
        ways = checks.directions(lines, "en", "de")
        assert ways.count(-1) <= len(ways) / 1_000
        assert ways.count(1) > 0.75 * len(ways)
        assert checks.directions(exchanged(lines), "en", "de") == [-way for way in ways]


@pytest.mark.parametrize(("wrong", "told"), [(0, ""), (9, "in 9 of 20 "), (11, "warning: in 11 of 20 ")])
def test_exchanged_sides_are_counted_and_warned_of_where_they_are_most(made, tmp_path, monkeypatch, wrong, told):
    monkeypatch.setattr(preparing, "train_tokenizer", lambda *_: MODEL)
    test = [*exchanged(RIGHT[:wrong]), *RIGHT[wrong:], ("OK", "OK")]
    dropped = f"Die Hunde sind nicht auf dem Dach {'1 ' * 1_100}", "The dogs are not on the roof"
    for name, lines in (("test", test), ("train", [*test, dropped])):
        for side, lang in enumerate(("en", "de")):
            (tmp_path / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in lines))
    prefix = str(tmp_path / "test")
    cfg = DataConfig("directed", str(tmp_path / "train"), prefix, prefix, dir=str(tmp_path / "data"))
    prepared = prepare(cfg)
    assert prepared.meta["dropped"] == {"too long": 1}
    assert (prepared.meta["look_exchanged"], prepared.meta["show_languages"]) == (wrong, 20)
    of = "pairs that show their languages the source looks like de and the target like en"
    assert [*report(prepared)][2:] == ([f"{told}{of}"] if told else [])
    doubted = f"{prefix}.en: most sources look like the language de, and their references like en"
    assert checks.warnings_about(corpus.find(cfg, "test"), Tokenizer(MODEL), "en", "de") == (
        [doubted] if wrong > 10 else []
    )


def test_translate_warns_of_lines_that_need_no_translation(translate):
    english, german = zip(*RIGHT, strict=True)
    for lines, wrong in ((german[:11] + english[:9], 11), (german[:9], 0)):
        warning = f"rope-mt: {wrong} of {len(lines)} lines look like de, and this model translates en to de"
        assert translate("\n".join(lines).encode())[1] == ([warning] if wrong else [])
