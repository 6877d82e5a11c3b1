"""Cross-attention of a hypothesis against the layer's own output, and the figure of it."""

from pathlib import Path

import pytest
import torch

from rope_mt.config.position import LearnedConfig, NoPositionConfig, PositionConfig, RelativeConfig, RopeConfig
from rope_mt.config.training import ModelConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import BOS, EOS, PAD, Tokenizer, train_tokenizer
from rope_mt.model.transformer import Transformer
from rope_mt.translation.attention_map import cross_attention, draw

SRC, TGT = [5, 6, 7, 8, 9], [10, 11, 12]


def model(position: PositionConfig, n_layers: int = 2, vocab_size: int = 31, **settings: object) -> Transformer:
    torch.manual_seed(0)
    cfg = ModelConfig("test", d_model=12, d_ff=20, n_heads=2, n_layers=n_layers, dropout=0.3, **settings)
    return Transformer(cfg, position, vocab_size, pad=PAD)


@pytest.mark.parametrize(
    ("position", "attention"),
    [
        (NoPositionConfig(), "softmax"),
        (RopeConfig(), "softmax"),
        (RopeConfig(cross_attention=True), "softmax"),
        (RelativeConfig(), "softmax"),  # a scheme of its own for each layer
        (LearnedConfig(max_len=5), "softmax"),
        (RopeConfig(), "linear"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_weights_make_of_the_values_what_the_layer_puts_out(position, attention):
    net = model(position, attention=attention)
    weights = cross_attention(net, SRC, TGT)
    assert net.training  # as it was
    net.eval()
    outputs = []
    for layer in net.decoder.layers:
        layer.cross_attention.register_forward_hook(lambda own, _, out: outputs.append((own, out)))
    with torch.no_grad():
        state = net.encode(torch.tensor([[*SRC, EOS]]))
        net.decode(torch.tensor([[BOS, *TGT]]), state)
        for of_layer, kept, (layer, out) in zip(weights, state.layers, outputs, strict=True):
            heads = of_layer @ kept.source.v[0]
            torch.testing.assert_close(layer.out(heads.transpose(0, 1).flatten(1)), out[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, 4))


@pytest.mark.parametrize("length", [0, 7, 300])
def test_a_figure_of_any_length_and_number_of_layers(tmp_path, length):
    lines = [line for pair in toy.generate(n_train=60, n_valid=2, n_test=2).train for line in pair]
    tokenizer = Tokenizer(train_tokenizer([*lines, "$a$ 漢" * 9], 420, "bpe"))
    [src] = tokenizer.encode(["$a$ 漢 \0 the dog"])
    for layers in (1, 4):
        net = model(RopeConfig(), layers, len(tokenizer))
        draw(net, tokenizer, src, [*range(5, 5 + length)], Path(tmp_path / f"{layers}.png"))
    sizes = {path.stat().st_size for path in tmp_path.iterdir()}
    assert len(sizes) == 2
