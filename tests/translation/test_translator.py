"""Translating with models that are not trained."""

import random
from dataclasses import replace

import pytest
import torch

from rope_mt.config.commands import EvalConfig, PositionChange
from rope_mt.config.position import POSITION_CONFIGS, LearnedConfig, NoPositionConfig, PositionsConfig, RopeConfig
from rope_mt.config.training import SearchConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import BOS, EOS, LONGEST, read
from rope_mt.errors import UserError
from rope_mt.model.search import Hypothesis
from rope_mt.runs import checkpoint
from rope_mt.translation.translator import Translator, in_threads

from .conftest import untrained_model

SEARCH = SearchConfig(beam=3, length_penalty=0.6, max_len_a=0.1, max_len_b=5)
WORDS = [word for src, _ in toy.generate(n_train=40, n_valid=2, n_test=2).train for word in src.split()]
SENTENCES = [" ".join(WORDS[at : at + 1 + at % 13]) for at in range(30)]


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize(
    ("position", "length"),
    [
        (LearnedConfig(max_len=9), 10),  # 9 tokens and eos
        (POSITION_CONFIGS["tupe"](max_len=9), 10),
        (LearnedConfig(max_len=30), 15),
        (NoPositionConfig(), 15),
    ],
)
def test_a_hypothesis_ends_where_the_table_of_positions_does(tokenizer, monkeypatch, position, length, beam):
    model = untrained_model(position, len(tokenizer))
    decode, lengths = model.decode, []

    def decode_without_end(tgt, state):
        hidden = decode(tgt, state)
        lengths.append(state.length)
        return hidden - 100 * model.embedding.weight[EOS].detach()

    monkeypatch.setattr(model, "decode", decode_without_end)
    search = SearchConfig(beam=beam, length_penalty=0.6, max_len_a=0.0, max_len_b=15)
    Translator(model, tokenizer, search, "fp32").translate(["the cat"])
    assert max(lengths) == length


def assert_same(ours: list[list[Hypothesis]], theirs: list[list[Hypothesis]]) -> None:
    """The best hypotheses are the same, and their scores except for rounding."""
    for one, other in zip(ours, theirs, strict=True):
        assert one[0].tokens == other[0].tokens
        assert one[0].score == pytest.approx(other[0].score, abs=1e-4)


@pytest.mark.parametrize("scheme", POSITION_CONFIGS.values(), ids=lambda scheme: scheme.name)
def test_neither_the_batch_nor_the_order_of_sentences_matters(tokenizer, scheme):
    """At most 2 in 1,000 hypotheses may differ, where the two best are as good: so none of these."""
    model = untrained_model(scheme(), len(tokenizer))

    def translate(order: list[int], batch_tokens: int) -> tuple[list[list[Hypothesis]], list[int]]:
        translator = Translator(model, tokenizer, replace(SEARCH, batch_tokens=batch_tokens), "fp32")
        batches = []
        hypotheses = translator.hypotheses(read(tokenizer, [SENTENCES[i] for i in order]).ids, advance=batches.append)
        assert sum(batches) == len(SENTENCES)
        return [hypotheses[order.index(i)] for i in range(len(SENTENCES))], batches

    apart, small_batches = translate([*range(len(SENTENCES))], 300)
    together, one_batch = translate(random.Random(0).sample(range(len(SENTENCES)), len(SENTENCES)), 100_000)
    assert len(small_batches) > 5
    assert len(one_batch) == 1
    assert_same(apart, together)
    assert len({tuple(hypotheses[0].tokens) for hypotheses in apart}) > len(SENTENCES) / 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_several_threads_find_what_one_thread_finds(tokenizer, precision):
    model = untrained_model(RopeConfig(), len(tokenizer))
    translator = Translator(model, tokenizer, replace(SEARCH, batch_tokens=120), precision)
    sources = read(tokenizer, SENTENCES[:8]).ids
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = translator.hypotheses(sources)
        torch.set_num_threads(3)
        together = translator.hypotheses(sources)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert_same(alone, together)


def test_an_error_in_one_thread_is_raised_and_the_number_of_threads_stays():
    def work(part: int) -> int:
        if part == 2:
            raise UserError("this one")
        return part

    before = torch.get_num_threads()
    try:
        with pytest.raises(UserError, match="this one"):
            list(in_threads(work, range(5), 3))
        assert torch.get_num_threads() == 3
        assert list(in_threads(work, [0, 1, 3], 3)) == [0, 1, 3]
    finally:
        torch.set_num_threads(before)


# ---- from tokens to text --------------------------------------------------------------------------------------------


@pytest.fixture
def translator(translators) -> Translator:
    return translators["rope"]


def test_every_sequence_of_tokens_is_one_line(translator):
    vocabulary = len(translator.tokenizer)
    random_ids = torch.randint(vocabulary, (300, 20), generator=torch.Generator().manual_seed(0)).tolist()
    texts = translator.decode([[i] for i in range(vocabulary)] + random_ids)
    assert all(len(text.splitlines()) == 1 or not text for text in texts)
    assert not any("\t" in text for text in texts)


def test_bytes_of_any_character_neither_end_a_line_nor_fail_to_be_written(translator):
    pieces, _, _ = translator.tokenizer.pieces()

    def decode(data: bytes) -> str:
        [text] = translator.decode([[pieces.index(f"<0x{byte:02X}>") for byte in data]])
        return text.encode().decode()

    breaks = [chr(c) for c in range(0x10000) if chr(c).isspace()]
    assert {"\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"} < {*breaks}
    for character in breaks:
        assert decode(f"a{character}b".encode()) == "a b"
    assert decode("\ufeff \ufeffa\ufeffb".encode()) == "a\ufeffb"  # one at a file's beginning would be skipped
    for invalid in (b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x8a", b"\x80", b"\xe2\x80"):
        assert {*decode(invalid)} == {"\ufffd"}
    assert decode(b"a\0b") == "a\0b"


@pytest.mark.parametrize("scheme", ["rope", "learned"])
def test_the_loss_of_a_sentence_is_its_cross_entropy_alone_whatever_else_is_in_its_batch(translators, scheme):
    """Sum over its tokens, and eos, of -log p(token | source, tokens before); a table of positions cuts both sides."""
    translator = translators[scheme]
    src = ["the dog sees the cat .", "", "a man sleeps .", "the cat " * 100]
    ref = ["der Hund sieht die Katze .", "ja", "", "die Katze " * 100]
    most = min(LONGEST, translator.model.max_len or LONGEST)
    for of_src, of_ref, (nats, tokens) in zip(src, ref, translator.losses(src, ref), strict=True):
        src_ids, ref_ids = (translator.tokenizer.encode([line.strip()])[0][:most] for line in (of_src, of_ref))
        with torch.no_grad():
            logits = translator.model(torch.tensor([[*src_ids, EOS]]), torch.tensor([[BOS, *ref_ids]]))[0]
        of_tokens = logits.double().log_softmax(-1).gather(1, torch.tensor([*ref_ids, EOS])[:, None])
        assert tokens == len(ref_ids) + 1
        assert nats == pytest.approx(-float(of_tokens.sum()), rel=1e-5)


def test_a_finished_run_of_rope_takes_a_scaling_and_no_other_run_does(checkpoints):
    ckpt = checkpoint.load(checkpoints["rope"])

    def losses(**change) -> list[tuple[float, int]]:
        cfg = EvalConfig("RUN", position=PositionChange(**change), device="cpu", precision="fp32")
        return Translator.of_command(ckpt, cfg).losses(SENTENCES, SENTENCES[::-1])

    plain = losses()
    for scaling in ("linear", "ntk", "yarn"):
        assert losses(scaling=scaling) == losses(scaling=scaling, factor=1.0) == plain
        assert losses(scaling=scaling, factor=2.0) != plain
    assert losses(scaling="dynamic", factor=2.0, trained=100) == plain != losses(scaling="dynamic", factor=2.0)
    with pytest.raises(UserError, match=r"^position\.factor must be 1 without position\.scaling"):
        losses(factor=2.0)
    ckpt = checkpoint.load(checkpoints["learned"])
    with pytest.raises(UserError, match=r"^position\.scaling is a setting of rope, and this model has learned$"):
        losses(scaling="linear")


def test_random_positions_in_tests_are_those_of_a_sentence_whatever_stands_beside_it(tokenizer):
    model, positions = untrained_model(LearnedConfig(max_len=300), len(tokenizer)), PositionsConfig("random", 200)
    positions.eval = "random"
    few = Translator(model, tokenizer, replace(SEARCH, batch_tokens=60), "fp32", positions)
    many = Translator(model, tokenizer, SEARCH, "fp32", positions)
    found = many.translate(SENTENCES)
    assert few.translate(SENTENCES[::-1]) == found[::-1]
    assert found != Translator(model, tokenizer, SEARCH, "fp32").translate(SENTENCES)
    losses = many.losses(SENTENCES, SENTENCES[::-1])
    [(loss, _)] = many.losses(SENTENCES[3:4], SENTENCES[::-1][3:4])
    assert loss == pytest.approx(losses[3][0], rel=1e-5)
    longest = max(map(len, tokenizer.encode(SENTENCES)))
    positions.reach = longest + 1  # of a source with eos: a hypothesis may have no more
    longer = Translator(model, tokenizer, replace(SEARCH, max_len_a=1.5, max_len_b=10), "fp32", positions)
    assert max(longer.most_tokens(ids) for ids in tokenizer.encode(SENTENCES)) == longest + 1
    assert len(longer.translate(SENTENCES)) == len(SENTENCES)
    positions.reach = 20
    assert [n for _, n in many.losses([SENTENCES[3]] * 2, [SENTENCES[3] * 9] * 2)] == [20, 20]  # as there are positions
    with pytest.raises(UserError, match=r"positions\.reach=20 gives positions to no more: take positions\.eval="):
        many.translate(SENTENCES)
