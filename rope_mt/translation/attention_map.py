"""Which pieces of the source a decoder looks at while it writes each piece of a translation."""

import warnings
from copy import copy
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.data.tokenizer import BOS, EOS, Tokenizer
from rope_mt.model.attention import Visible, attend
from rope_mt.model.transformer import Transformer
from rope_mt.position import PositionScheme
from rope_mt.system.plots import figure

ACROSS = 3  # panels side by side
CELL = 0.16  # inches of a piece, where a panel stays below LARGEST
LARGEST = 9.0  # inches
NAMED = 80  # pieces of a side: more names could not be read


@torch.inference_mode()
def cross_attention(model: Transformer, src: list[int], tgt: list[int]) -> Float[Tensor, "layers heads tgt src"]:
    """The weights of every decoder layer over the source while the model, in float32, is made to write `tgt`.

    As in `analyze decay`, the stack asks copies of its position schemes that do all that those do and show what they
    are asked for: here the queries, from which `attend` makes the weights.

    Args:
        src, tgt: ids without bos and eos; eos is added to both.

    Returns:
        A row is the step that writes a token of tgt and at last eos, a column a token of src and at last eos.
    """
    queries: dict[int, Tensor] = {}

    def showing(scheme: PositionScheme, layer: int) -> PositionScheme:
        def rotate_cross(_: PositionScheme, x: Tensor, pos: Int[Tensor, "*batch len"]) -> Tensor:
            queries[layer] = scheme.rotate_cross(x, pos)
            return queries[layer]

        copied = copy(scheme)
        copied.__class__ = type("Showing", (type(scheme),), {"rotate_cross": rotate_cross})
        return copied

    device, decoder = model.embedding.weight.device, model.decoder
    own, was_training = decoder.positions, model.training
    model.eval()
    try:
        state = model.encode(torch.tensor([[*src, EOS]], device=device))  # asks for the keys, not to be shown
        decoder.positions = nn.ModuleList(showing(decoder.scheme(i), i) for i in range(len(decoder.layers)))
        model.decode(torch.tensor([[BOS, *tgt]], device=device), state)
    finally:
        decoder.positions = own
        model.train(was_training)
    layers: list[Tensor] = []
    for layer, kept in enumerate(state.layers):
        attend(queries[layer], kept.source.k, kept.source.v, Visible(), value_term=layers.append)  # given the weights
    return torch.cat(layers)


def draw(model: Transformer, tokenizer: Tokenizer, src: list[int], tgt: list[int], png: Path) -> None:
    """A panel a decoder layer, the mean over its heads: source pieces across, pieces of the hypothesis down.

    Args:
        src, tgt: ids without bos and eos.

    Raises:
        UserError: the folder cannot be written.
    """
    layers = cross_attention(model, src, tgt).mean(dim=1).cpu().numpy()
    names = tokenizer.pieces()[0]
    across, down = ([names[i] for i in (*ids, EOS)] for ids in (src, tgt))
    columns = min(ACROSS, len(layers))
    rows = -(-len(layers) // columns)
    width, height = (min(CELL * len(pieces), LARGEST) + 0.9 for pieces in (across, down))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box is drawn for a character without one
        with figure(png, max(3.0, columns * width) + 0.6, max(2.0, rows * height) + 0.4) as drawn:
            grid = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
            for axes in grid.flat[len(layers) :]:
                axes.remove()
            for layer, (axes, weights) in enumerate(zip(grid.flat, layers, strict=False), start=1):
                axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
                axes.set_title(f"layer {layer}")
                axes.grid(visible=False)
                if len(across) <= NAMED:
                    axes.set_xticks(range(len(across)), across, rotation=90, fontsize=7, parse_math=False)
                    axes.tick_params(axis="x", labelbottom=True)
                if len(down) <= NAMED:
                    axes.set_yticks(range(len(down)), down, fontsize=7, parse_math=False)
            bar = drawn.colorbar(grid[0, 0].images[0], ax=list(grid.flat[: len(layers)]), shrink=0.9, aspect=30)
            bar.set_label("attention, mean over heads", fontsize=8)
            drawn.supxlabel("source", fontsize=9)
            drawn.supylabel("hypothesis", fontsize=9)
