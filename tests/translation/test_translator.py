"""Translating with models that are not trained."""

import random
from dataclasses import replace

import pytest
import torch

from rope_mt.config.position import (
    POSITION_CONFIGS,
    LearnedConfig,
    NoPositionConfig,
    PositionConfig,
    RopeConfig,
    TupeConfig,
)
from rope_mt.config.training import ModelConfig, SearchConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import EOS, PAD, Tokenizer, read, train_tokenizer
from rope_mt.errors import UserError
from rope_mt.model.search import Hypothesis
from rope_mt.model.transformer import Transformer
from rope_mt.translation.translator import Translator, in_threads


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    corpus = toy.generate(n_train=100, n_valid=2, n_test=2)
    return Tokenizer(train_tokenizer([line for pair in corpus.train for line in pair], 450, "bpe"))


def decoded(tokenizer: Tokenizer, position: PositionConfig, beam: int) -> list[int]:
    """How many target tokens a model that never ends a sentence had read after each step."""
    torch.manual_seed(0)
    cfg = ModelConfig("test", d_model=24, d_ff=40, n_heads=3, n_layers=1, dropout=0.0)
    model = Transformer(cfg, position, len(tokenizer), PAD)
    lengths = []
    honest = model.decode

    def decode(tgt, state):
        hidden = honest(tgt, state)
        lengths.append(state.length)
        return hidden - 100 * model.embedding.weight[EOS].detach()  # never the end

    model.decode = decode
    search = SearchConfig(beam=beam, length_penalty=0.6, max_len_a=0.0, max_len_b=60)
    Translator(model, tokenizer, search, "fp32").translate(["the old dog sees the cat"])
    return lengths


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("scheme", [LearnedConfig, TupeConfig])
def test_a_hypothesis_ends_where_the_table_of_positions_does(tokenizer, scheme, beam):
    assert max(decoded(tokenizer, scheme(max_len=40), beam)) == 41  # 40 tokens, and what ends them
    assert max(decoded(tokenizer, scheme(max_len=90), beam)) == 60
    assert max(decoded(tokenizer, NoPositionConfig(), beam)) == 60


SEARCH = SearchConfig(beam=3, length_penalty=0.6, max_len_a=0.1, max_len_b=5)


def nontrivial(tokenizer: Tokenizer, position: PositionConfig) -> Transformer:
    """A model whose hypotheses are not all alike, as those of one at its beginning are."""
    torch.manual_seed(3)
    cfg = ModelConfig("test", d_model=24, d_ff=40, n_heads=3, n_layers=1, dropout=0.1)
    model = Transformer(cfg, position, len(tokenizer), PAD)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape) if parameter.dim() == 1 else parameter
    return model


@pytest.mark.parametrize("scheme", POSITION_CONFIGS.values(), ids=lambda scheme: scheme.name)
def test_neither_the_batch_nor_the_order_of_sentences_matters(tokenizer, scheme):
    """At most 2 in 1,000 hypotheses may differ, where the two best are as good: so none of these 60."""
    model = nontrivial(tokenizer, scheme())
    words = [word for src, _ in toy.generate(n_train=90, n_valid=2, n_test=2).train for word in src.split()]
    sentences = [" ".join(words[at : at + 1 + at % 13]) for at in range(60)]

    def found(order: list[int], batch_tokens: int) -> list[list[Hypothesis]]:
        translator = Translator(model, tokenizer, replace(SEARCH, batch_tokens=batch_tokens), "fp32")
        done = []
        hypotheses = translator.hypotheses(read(tokenizer, [sentences[i] for i in order]).ids, advance=done.append)
        assert sum(done) == len(sentences)
        assert (len(done) > 10) == (batch_tokens < 1_000)
        return [hypotheses[order.index(i)] for i in range(60)]

    apart = found(list(range(60)), 300)
    together = found(random.Random(0).sample(range(60), 60), 100_000)
    for one, other in zip(apart, together, strict=True):
        assert one[0].score == pytest.approx(other[0].score, abs=1e-4)
        assert one[0].tokens == other[0].tokens
    assert len({tuple(hypotheses[0].tokens) for hypotheses in apart}) > 40


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_threads_find_what_one_alone_finds_in_the_order_of_the_sentences(tokenizer, precision):
    """A thread has batches that the others have not; tokens are the same, and scores but for rounding."""
    model = nontrivial(tokenizer, RopeConfig())
    words = [word for src, _ in toy.generate(n_train=90, n_valid=2, n_test=2).train for word in src.split()]
    translator = Translator(model, tokenizer, replace(SEARCH, batch_tokens=120), precision)
    sources = read(tokenizer, [" ".join(words[at : at + 1 + at % 9]) for at in range(40)]).ids
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = translator.hypotheses(sources)
        torch.set_num_threads(3)
        together = translator.hypotheses(sources)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone, together, strict=True):
        assert one[0].tokens == other[0].tokens
        assert one[0].score == pytest.approx(other[0].score, abs=1e-4)


def test_what_fails_in_one_thread_fails_and_leaves_the_number_of_threads():
    def work(part: int) -> int:
        if part == 2:
            raise UserError("this one")
        return part

    before = torch.get_num_threads()
    with pytest.raises(UserError, match="this one"):
        list(in_threads(work, range(5), 3))
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)
    assert list(in_threads(work, [0, 1, 3], 3)) == [0, 1, 3]
    torch.set_num_threads(before)


def test_every_sequence_of_tokens_is_one_line(tokenizer):
    translator = Translator(nontrivial(tokenizer, RopeConfig()), tokenizer, SEARCH, "fp32")
    ids = torch.randint(len(tokenizer), (300, 20), generator=torch.Generator().manual_seed(0)).tolist()
    drawn = translator.decode([[i] for i in range(len(tokenizer))] + ids)
    assert all(len(text.splitlines()) == 1 or not text for text in drawn)
    assert not any("\t" in text for text in drawn)


def test_no_characters_put_together_of_bytes_end_a_line_or_fail_to_be_written(tokenizer):
    translator = Translator(nontrivial(tokenizer, RopeConfig()), tokenizer, SEARCH, "fp32")
    pieces, _, _ = tokenizer.pieces()

    def written(data: bytes) -> str:
        [text] = translator.decode([[pieces.index(f"<0x{byte:02X}>") for byte in data]])
        return text.encode().decode()

    breaks = [chr(c) for c in range(0x10000) if chr(c).isspace()]
    assert {"\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"} < {*breaks}
    for character in breaks:
        assert written(f"a{character}b".encode()) == "a b"
    assert written("\ufeff \ufeffa\ufeffb".encode()) == "a\ufeffb"  # at a file's beginning it would not be read back
    for lone in (b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x8a", b"\x80", b"\xe2\x80"):
        assert {*written(lone)} == {"\ufffd"}
    assert written(b"a\0b") == "a\0b"


@pytest.mark.parametrize("text", ["👩‍👩‍👧‍👦 sieht 🐶🏽.", "a\0b", "\x1b[31mrot", "\u200b\ufeff", "漢字 и ελ"])
def test_what_is_not_white_space_survives(tokenizer, text):
    translator = Translator(nontrivial(tokenizer, RopeConfig()), tokenizer, SEARCH, "fp32")
    assert translator.decode(read(tokenizer, [text]).ids) == [text]
