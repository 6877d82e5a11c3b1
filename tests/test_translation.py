"""Translating with a model that is not trained, which never ends a sentence by itself."""

import pytest
import torch

from rope_mt.config.position import LearnedConfig, NoPositionConfig, PositionConfig, TupeConfig
from rope_mt.config.training import ModelConfig, SearchConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import EOS, PAD, Tokenizer, train_tokenizer
from rope_mt.model.transformer import Transformer
from rope_mt.translation import Translator


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    corpus = toy.generate(n_train=100, n_valid=2, n_test=2)
    return Tokenizer(train_tokenizer([line for pair in corpus.train for line in pair], 450, "bpe"))


def decoded(tokenizer: Tokenizer, position: PositionConfig, beam: int) -> list[int]:
    """How many target tokens the model had read after each step."""
    torch.manual_seed(0)
    cfg = ModelConfig("test", d_model=24, d_ff=40, n_heads=3, n_layers=1, dropout=0.0)
    model = Transformer(cfg, position, len(tokenizer), PAD)
    lengths = []
    honest = model.decode

    def decode(tgt, state, segments=None):
        hidden = honest(tgt, state, segments)
        lengths.append(state.length)
        return hidden - 100 * model.embedding.weight[EOS].detach()  # never the end

    model.decode = decode
    search = SearchConfig(beam=beam, length_penalty=0.6, max_len_a=0.0, max_len_b=60)
    Translator(model, tokenizer, search, "fp32").translate(["the old dog sees the cat"])
    return lengths


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("scheme", [LearnedConfig, TupeConfig])
def test_a_hypothesis_ends_where_the_table_of_positions_does(tokenizer, scheme, beam):
    assert max(decoded(tokenizer, scheme(max_len=40), beam)) <= 41
    assert max(decoded(tokenizer, scheme(max_len=90), beam)) == 60
    assert max(decoded(tokenizer, NoPositionConfig(), beam)) == 60
