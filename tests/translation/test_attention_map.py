"""Cross-attention weights of a hypothesis against the layer's own output, and the figure of them."""

from dataclasses import replace

import pytest
import torch

from rope_mt.config.position import LearnedConfig, NoPositionConfig, RelativeConfig, RopeConfig
from rope_mt.data.tokenizer import BOS, EOS
from rope_mt.translation.attention_map import cross_attention, draw

from .conftest import untrained_model

SRC, TGT = [5, 6, 7, 8, 9], [10, 11, 12]


@pytest.mark.parametrize(
    ("position", "attention"),
    [
        (NoPositionConfig(), "softmax"),
        (RopeConfig(), "softmax"),
        (replace(RopeConfig(), cross_attention=True), "softmax"),
        (RelativeConfig(), "softmax"),  # a scheme of its own for each layer
        (LearnedConfig(max_len=5), "softmax"),
        (RopeConfig(), "linear"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.parametrize("positions", [(), (torch.tensor([[1, 2, 4, 5, 7, 8]]), torch.tensor([[0, 2, 6, 9]]))])
def test_weights_times_values_are_the_output_of_the_layer(position, attention, positions):
    if positions and isinstance(position, LearnedConfig):
        position = replace(position, max_len=10)
    model = untrained_model(position, vocab_size=31, n_layers=2, attention=attention)
    weights = cross_attention(model, SRC, TGT, *positions)
    outputs = []
    for layer in model.decoder.layers:
        layer.cross_attention.register_forward_hook(lambda layer, _, out: outputs.append((layer, out)))
    with torch.no_grad():
        state = model.encode(torch.tensor([[*SRC, EOS]]), *positions)
        model.decode(torch.tensor([[BOS, *TGT]]), state)
        for layer_weights, kept, (layer, out) in zip(weights, state.layers, outputs, strict=True):
            heads = layer_weights @ kept.source.v[0]
            torch.testing.assert_close(layer.out(heads.transpose(0, 1).flatten(1)), out[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 4))


@pytest.mark.parametrize(("length", "layers"), [(0, 1), (7, 4), (300, 1)])
def test_a_figure_of_any_length_and_number_of_layers(tokenizer, tmp_path, length, layers):
    [src] = tokenizer.encode(["$$ 漢 \0 the dog"])
    assert {"▁$$", "▁漢"} <= {*tokenizer.pieces()[0]}  # mathematics for matplotlib, and a character without a glyph
    model = untrained_model(RopeConfig(), len(tokenizer), n_layers=layers)
    draw(model, tokenizer, src, [*range(5, 5 + length)], tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG\r\n")
