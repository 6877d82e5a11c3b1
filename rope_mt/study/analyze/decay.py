"""`rope-mt analyze decay`: how attention falls with distance, in RoFormer's relative bound and in a trained model."""

from copy import copy
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from rope_mt.config.checks import at_least, require
from rope_mt.config.flags import AnalyzeDecayConfig
from rope_mt.config.position import RopeConfig
from rope_mt.data.tokenizer import BOS, EOS, LONGEST, read
from rope_mt.errors import UserError
from rope_mt.model.transformer import Decoder, Encoder, Transformer
from rope_mt.position import PositionScheme
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.study.charts import use_log_scale
from rope_mt.system.device import choose_device
from rope_mt.system.plots import figure, write_csv
from rope_mt.translation.scored_sets import own_test_set
from rope_mt.translation.translator import Translator

DRAWN = 20  # pairs of tokens: the mean over fewer is noise, and is not drawn
FAINTEST = 1e-3  # of uniform attention: a smaller weight is not drawn


def analyze_decay(cfg: AnalyzeDecayConfig) -> None:
    """Write OUT.csv and OUT.png, and with a run OUT-attention.csv and .png; print the main numbers.

    Raises:
        UserError: a value is out of range, or the run cannot be read or has no attention weights.
    """
    d, theta, ckpt = 128, 10_000.0, None
    if cfg.run:
        ckpt = checkpoint.load(cfg.run)
        position, model = ckpt.config.position, ckpt.config.model
        rope = position if isinstance(position, RopeConfig) else RopeConfig()  # in the place of another scheme
        d = rope.rotated_features(model.d_model // model.n_heads)
        theta = float(getattr(position, "theta", theta))
        if model.attention == "linear":
            raise UserError(f"{cfg.run} has linear attention, which makes no weights: name another run, or none")
    d = d if cfg.d is None else cfg.d
    theta = theta if cfg.theta is None else cfg.theta
    require(d >= 2 and d % 2 == 0, "--d", "even and at least 2", d)
    require(1 < theta < np.inf, "--theta", "above 1 and finite", theta)
    at_least(1, cfg, "--", "longest", "sentences")
    console = Console(highlight=False)
    _report_bound(d, theta, cfg.longest, cfg.out, console)
    if cfg.run and ckpt:
        _report_attention(ckpt, cfg.run, cfg.sentences, cfg.out, console)


# ---- the bound ------------------------------------------------------------------------------------------------------


def decay(
    d: int, theta: float, distance: Int[np.ndarray, " distances"]
) -> tuple[Float[np.ndarray, " distances"], Float[np.ndarray, " distances"]]:
    """What RoPE does to an inner product at a distance m - n: RoFormer section 3.4.3.

    Returns:
        The relative bound that its figure 2 draws, the mean of |S_1|, ..., |S_{d/2}|, where S_j is the sum of
        e^{i (m-n) theta_i} over the first j pairs of features. By eq. 37, |q·k| is at most d/2 times it, times the
        largest max |h_{i+1} - h_i|, where h_i is the product of the i-th pair of features of q and k, and h_{d/2} = 0:
        the step from the last product to 0 is one of them. And q·k itself after the rotation, for q and k all ones.
    """
    angles = np.multiply.outer(distance, theta ** (-np.arange(0, d, 2) / d))
    bound = np.abs(np.exp(1j * angles).cumsum(axis=1)).mean(axis=1)
    return bound, 2 * np.cos(angles).sum(axis=1)


def _report_bound(d: int, theta: float, longest: int, out: Path, console: Console) -> None:
    distance = np.arange(longest + 1)
    bound, product = decay(d, theta, distance)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("distance", "relative bound", "q·k of ones"):
        table.add_column(column, justify="right")
    for r in [0, *(2**i for i in range(longest.bit_length()))]:
        table.add_row(str(r), f"{bound[r]:.1f}", f"{product[r]:.1f}")
    console.print(f"RoFormer section 3.4.3, d = {d}, theta = {theta:g}")
    console.print(table)

    csv, png = Path(f"{out}.csv"), Path(f"{out}.png")
    rows = zip(distance.tolist(), bound.tolist(), product.tolist(), strict=True)
    write_csv(csv, ("distance", "relative bound", "inner product"), rows)
    with figure(png, 7.0, 2.9) as drawn:
        left, right = drawn.subplots(1, 2)
        left.plot(distance, bound)
        shared = {"xlabel": "distance m − n (tokens)", "xlim": (0, longest)}
        left.set(title="relative bound on q·k, eq. 37", ylim=(0, None), **shared)
        left.set_ylabel("mean of $|S_1|, …, |S_{d/2}|$", parse_math=True)
        right.plot(distance, product)
        right.set(title="q·k itself, q and k all ones", ylabel="q·k", **shared)
        drawn.suptitle(f"RoPE, d = {d}, θ = {theta:g}")
    console.print(Text(f"files: {csv} {png}"), soft_wrap=True)


# ---- the weights ----------------------------------------------------------------------------------------------------


class AttentionByDistance:
    """Adds up the self-attention weights of a stack by the distance m - n from query m to key n (RoFormer's letters).

    The stack now asks copies of its position schemes, which share their parameters, do the same, and show the weights.
    It must read one sentence at a time, without padding.

    Attributes:
        distance: -longest, ..., longest, or from 0 where the stack is causal.
        pairs: how many pairs of tokens lay so far apart.
        sums: float64, the weights of those pairs, summed.
        uniform: float64, the same sums for uniform attention, where a query gives the same weight to every key that it
            sees. They fall with distance too, as only queries that see many keys see distant ones.
    """

    def __init__(self, stack: Encoder | Decoder, n_heads: int, longest: int) -> None:
        self.farthest_future = 0 if isinstance(stack, Decoder) else longest
        self.distance = np.arange(-self.farthest_future, longest + 1)
        self.pairs = torch.zeros(len(self.distance), dtype=torch.int64)
        self.sums = torch.zeros(len(stack.layers), n_heads, len(self.distance), dtype=torch.float64)
        self.uniform = torch.zeros(len(self.distance), dtype=torch.float64)
        stack.positions = nn.ModuleList(self._showing(stack.scheme(i), i) for i in range(len(stack.layers)))

    def _showing(self, scheme: PositionScheme, layer: int) -> PositionScheme:
        def value_term(_: PositionScheme, weights: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor | None:
            self._add(layer, weights, q_pos, k_pos)
            return scheme.value_term(weights, q_pos, k_pos) if scheme.has_value_term else None

        showing = copy(scheme)
        showing.__class__ = type("Showing", (type(scheme),), {"value_term": value_term, "has_value_term": True})
        return showing

    def _add(
        self,
        layer: int,
        weights: Float[Tensor, "1 heads len len"],
        q_pos: Int[Tensor, " len"],
        k_pos: Int[Tensor, " len"],
    ) -> None:
        distance = q_pos[:, None] - k_pos
        seen = distance >= -self.farthest_future
        index = (distance[seen] + self.farthest_future).cpu()
        # summed on the CPU, since not every device has float64
        self.sums[layer].index_add_(1, index, weights[0, :, seen].cpu().double())
        if layer == 0:
            self.pairs += torch.bincount(index, minlength=len(self.pairs))
            keys = seen.sum(dim=1, keepdim=True).expand_as(seen)[seen]
            self.uniform.index_add_(0, index, 1 / keys.cpu().double())

    def over_uniform(self) -> Float[np.ndarray, "layers heads distances"]:
        """The weights over those of uniform attention; 1 at all distances if distance did not matter."""
        with np.errstate(invalid="ignore"):
            return self.sums.numpy() / self.uniform.numpy()

    def mean_distances(self) -> Float[np.ndarray, "layers_and_1"]:
        """How many tokens away a layer looks on average: |m - n| weighted by attention. Last, the same if uniform."""
        sums = torch.cat((self.sums.sum(dim=1), self.uniform[None])).numpy()
        return sums @ np.abs(self.distance) / sums.sum(axis=1)


@torch.inference_mode()
def attention_by_distance(
    model: Transformer, src: list[list[int]], tgt: list[list[int]], n_heads: int
) -> dict[str, AttentionByDistance]:
    """The weights of encoder and decoder while the model, in float32, reads each source and its reference.

    As in training, eos ends a source, and a target begins with bos.

    Args:
        src, tgt: the ids of the sentences, without eos and bos.
    """
    encoder = AttentionByDistance(model.encoder, n_heads, max(map(len, src)))
    decoder = AttentionByDistance(model.decoder, n_heads, max(map(len, tgt)))
    model.eval()
    device = model.embedding.weight.device
    for source, target in zip(src, tgt, strict=True):
        state = model.encode(torch.tensor([[*source, EOS]], device=device))
        model.decode(torch.tensor([[BOS, *target]], device=device), state)
    return {"encoder": encoder, "decoder": decoder}


def _report_attention(ckpt: Checkpoint, path: Path, sentences: int, out: Path, console: Console) -> None:
    src, ref = (lines[:sentences] for lines in own_test_set(path, ckpt))
    model = Translator.of(ckpt, ckpt.config.search, choose_device("auto"), "fp32").model
    most = min(model.max_len or LONGEST, LONGEST)
    src_ids, ref_ids = (read(ckpt.tokenizer, lines, most).ids for lines in (src, ref))
    stacks = attention_by_distance(model, src_ids, ref_ids, ckpt.config.model.n_heads)

    console.print(Text(f"\nMean distance of attention (tokens), {len(src)} sentences, {path}"), soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layer")
    for column in (*range(1, ckpt.config.model.n_layers + 1), "if uniform"):
        table.add_column(str(column), justify="right")
    for name, stack in stacks.items():
        table.add_row(name, *(f"{mean:.2f}" for mean in stack.mean_distances()))
    console.print(table)

    csv, png = Path(f"{out}-attention.csv"), Path(f"{out}-attention.png")
    rows = []
    for name, stack in stacks.items():
        for (layer, head, i), weights in np.ndenumerate(stack.sums.numpy()):
            if pairs := int(stack.pairs[i]):
                means = weights / pairs, stack.uniform[i].item() / pairs
                rows.append((name, layer + 1, head + 1, int(stack.distance[i]), pairs, *means))
    write_csv(csv, ("stack", "layer", "head", "distance", "pairs", "weight", "uniform weight"), rows)
    _draw(stacks, png, f"{ckpt.config.position.name}, {len(src)} sentences")
    console.print(Text(f"files: {csv} {png}"), soft_wrap=True)


def _draw(stacks: dict[str, AttentionByDistance], png: Path, title: str) -> None:
    """A row a stack, a column a layer, a line a head."""
    layers = len(next(iter(stacks.values())).sums)
    with figure(png, max(5.0, 1.6 + 1.7 * layers), 4.4) as drawn:
        grid = drawn.subplots(len(stacks), layers, sharex="row", sharey=True, squeeze=False)
        for row, (name, stack) in zip(grid, stacks.items(), strict=True):
            over_uniform = stack.over_uniform()
            shown = (stack.pairs.numpy() >= DRAWN) & (over_uniform >= FAINTEST)
            drawn_weights = np.where(shown, over_uniform, np.nan)
            for layer, (axes, heads) in enumerate(zip(row, drawn_weights, strict=True)):
                axes.set(title=f"{name}, layer {layer + 1}")
                for head, weights in enumerate(heads):
                    axes.plot(stack.distance, weights, label=f"{head + 1}", linewidth=1.0)
                axes.axhline(1, color="grey", linewidth=0.8)
                use_log_scale(axes)
        drawn.supxlabel("distance m − n from query m to key n (tokens; keys ahead are negative)", fontsize=9)
        drawn.supylabel("attention weight over that of uniform attention", fontsize=9)
        drawn.suptitle(title)
        drawn.legend(*grid[0, 0].get_legend_handles_labels(), title="head", loc="outside right center")
