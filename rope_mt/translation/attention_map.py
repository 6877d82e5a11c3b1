"""The source pieces that a decoder attends to while it writes each piece of a translation."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rope_mt.data.tokenizer import BOS, EOS, Tokenizer
from rope_mt.model.attention import CrossAttention, attend
from rope_mt.model.transformer import Transformer
from rope_mt.system.plots import figure

COLUMNS = 3  # panels side by side
PIECE = 0.16  # inches of a piece, where a panel stays below LARGEST
LARGEST = 9.0  # inches
MOST_NAMES = 80  # pieces of a side; more names would be too small to read


@torch.inference_mode()
def cross_attention(
    model: Transformer, src: list[int], tgt: list[int], *positions: Int[Tensor, "1 _"]
) -> Float[Tensor, "layers heads tgt src"]:
    """The weights of every decoder layer over the source while the model, in eval mode and float32, writes `tgt`.

    Args:
        src, tgt: ids without bos and eos; eos is added to both.
        positions: of src with eos, and of as many target tokens or more; without them consecutive ones.

    Returns:
        A row is the step that writes a token of tgt, or eos at last; a column is a token of src, or eos at last.
    """
    weights: list[Tensor] = []

    def keep_weights(layer: CrossAttention, args: tuple[Any, ...], _: Tensor) -> None:
        x, position, turns, source, visible = args
        attend(layer.queries(x, position, turns), source.k, source.v, visible, value_term=weights.append)

    device = model.embedding.weight.device
    layers = [module for module in model.decoder.modules() if isinstance(module, CrossAttention)]
    hooks = [layer.register_forward_hook(keep_weights) for layer in layers]
    state = model.encode(torch.tensor([[*src, EOS]], device=device), *positions)
    model.decode(torch.tensor([[BOS, *tgt]], device=device), state)
    for hook in hooks:
        hook.remove()
    return torch.cat(weights)


def draw(
    model: Transformer, tokenizer: Tokenizer, src: list[int], tgt: list[int], png: Path, *positions: Int[Tensor, "1 _"]
) -> None:
    """Draw a panel for each decoder layer, the mean over its heads: source pieces across, hypothesis pieces down.

    Raises:
        UserError: the folder cannot be written.
    """
    layers = cross_attention(model, src, tgt, *positions).mean(dim=1).cpu().numpy()
    names = tokenizer.pieces()[0]
    across, down = ([names[i] for i in (*ids, EOS)] for ids in (src, tgt))
    columns = min(COLUMNS, len(layers))
    rows = -(-len(layers) // columns)
    width, height = (min(PIECE * len(pieces), LARGEST) + 0.9 for pieces in (across, down))
    with figure(png, max(3.0, columns * width) + 0.6, max(2.0, rows * height) + 0.4) as drawn:
        grid = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(layers) :]:
            axes.remove()
        panels = list(grid.flat[: len(layers)])
        for layer, (axes, weights) in enumerate(zip(panels, layers, strict=True), start=1):
            axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_title(f"layer {layer}")
            axes.grid(visible=False)
            if len(across) <= MOST_NAMES:
                axes.set_xticks(range(len(across)), across, rotation=90, fontsize=7, parse_math=False)
                axes.tick_params(axis="x", labelbottom=True)
            if len(down) <= MOST_NAMES:
                axes.set_yticks(range(len(down)), down, fontsize=7, parse_math=False)
        bar = drawn.colorbar(panels[0].images[0], ax=panels, shrink=0.9, aspect=30)
        bar.set_label("attention, mean over heads", fontsize=8)
        drawn.supxlabel("source", fontsize=9)
        drawn.supylabel("hypothesis", fontsize=9)
