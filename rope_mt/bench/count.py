"""`rope-mt bench train bench.count=true`: the ops, bytes and FLOP of a training step on a GPU, counted without one.

The step is taken with fake tensors, which have shapes and no numbers, in the code paths of a GPU. Three figures of a
GPU make an estimate of its time from that: paper, not a measurement.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from rope_mt.bench.steps import as_trained, shape
from rope_mt.config.commands import GPUS, BenchTrainConfig, TrainConfig
from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD
from rope_mt.model.transformer import Transformer
from rope_mt.system.device import computing_in
from rope_mt.training import optimizers
from rope_mt.training.module import divide_and_clip, loss_of, not_finite

WIDTH = 32  # slots of each source and each target
FILLED = 0.95  # of the target's slots
REACHED = {"bandwidth": 0.8, "FLOP/s": 0.7}  # fractions of the data sheet's figures that good kernels reach
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}
OVERWRITING = {"copy_", "fill_", "zero_", "_foreach_copy_"}  # they do not read what they change
PICKING = {"embedding", "gather", "index", "index_select"}  # they read as much of their first argument as they return
PLACING = {"scatter_", "scatter_add_"}  # they change as much of their first argument as their index names


def count(cfg: BenchTrainConfig) -> dict[str, Any]:
    """Count a step in bf16, the second one, with pairs of one width that fill `data.batch_tokens`."""
    vocabulary, pairs = cfg.data.vocab_size, max(1, cfg.data.batch_tokens // (2 * WIDTH))
    tokens = int(FILLED * pairs * WIDTH)
    with FakeTensorMode():
        model = Transformer(cfg.model, cfg.position, vocabulary, PAD)
        ids = torch.ones(2, pairs, WIDTH, dtype=torch.int64)
        batch = Batch(ids[0], ids[1], ids[0].flatten()[:tokens], torch.arange(tokens))
        step = step_of(model, as_trained(cfg, cfg.position), batch)
        step()  # the optimizer makes its state
        with Counting() as counting:
            step()
    of_kinds = sorted(counting.kinds.items(), key=lambda kind: -kind[1][1])
    ops, moved, flop = (sum(column) for column in zip(*counting.kinds.values(), strict=True))
    return {
        "model": f"{shape(cfg.model)}, {cfg.model.attention}",
        "position": cfg.position.name,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "batch": f"{pairs:,} pairs of {WIDTH} + {WIDTH} slots, {FILLED:.0%} filled; vocabulary {vocabulary:,}; bf16",
        "ops": ops,
        "GB": moved / 1e9,
        "TFLOP": flop / 1e12,
        "kinds of op": {kind: f"{n:>5,} ops {size / 1e9:>7,.2f} GB" for kind, (n, size, _) in of_kinds},
        "estimate": estimate(cfg, moved, flop, ops, tokens),
    }


def step_of(model: Transformer, cfg: TrainConfig, batch: Batch) -> Callable[[], None]:
    """All that TranslationModule computes for an update."""
    optimizer = optimizers.configured(model, cfg.optimizer, cfg.trainer.max_steps, "bf16")["optimizer"]

    def step() -> None:
        with computing_in("bf16", batch.src.device):
            loss = loss_of(model, batch, cfg.optimizer.label_smoothing)
        loss.backward()
        norm = divide_and_clip(model.parameters(), 1, cfg.trainer.clip)
        optimizers.skip_if(optimizer, not_finite(loss.detach(), norm))
        optimizer.step()
        optimizer.zero_grad()

    return step


def estimate(cfg: BenchTrainConfig, moved: int, flop: int, ops: int, tokens: int) -> dict[str, Any]:
    """The time of a step, and the target tokens a second that follow from it, with all that is assumed."""
    sheet = GPUS[cfg.bench.gpu]
    bandwidth, peak = cfg.bench.bandwidth or sheet[0], cfg.bench.peak or sheet[1]
    device = moved / (1e12 * bandwidth * REACHED["bandwidth"]) + flop / (1e12 * peak * REACHED["FLOP/s"])
    host = ops * cfg.bench.launch / 1e6
    return {
        "GPU": cfg.bench.gpu,
        "bandwidth": f"{bandwidth:g} TB/s, {REACHED['bandwidth']:.0%} of it reached",
        "matrix products": f"{peak:g} TFLOP/s, {REACHED['FLOP/s']:.0%} of it reached",
        "launch": f"{cfg.bench.launch:g} microseconds of the host for an op",
        "assumed": "an op is one kernel; its bytes move before it computes; host and GPU work at the same time",
        "milliseconds of the GPU": 1000 * device,
        "milliseconds of the host": 1000 * host,
        "target tokens/s": tokens / max(device, host),
    }


class Counting(TorchDispatchMode):
    """Counts ops other than views and allocations, the bytes that they read and write, and the FLOP of products.

    Attributes:
        kinds: ops, bytes and FLOP of each kind of op.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        kind = func.overloadpacket.__name__
        if func.namespace == "aten" and not func.is_view and kind not in ALLOCATIONS:
            counts = moved_by(func, args, kwargs, made), flop_of(func, args, kwargs, made)
            self.kinds[kind] = [a + b for a, b in zip(self.kinds[kind], (1, *counts), strict=True)]
        return made


def moved_by(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> int:
    """The bytes that an op reads and writes. Numbers that a view repeats are moved once."""
    kind, arguments = func.overloadpacket.__name__, func._schema.arguments
    given = {**{about.name: value for about, value in zip(arguments, args, strict=False)}, **kwargs}
    if kind in PLACING:
        return 3 * size_of(given["index"]) + size_of(given.get("src"))
    moved = 0
    for number, about in enumerate(arguments):
        size = size_of(given.get(about.name))
        written = about.alias_info is not None and about.alias_info.is_write
        read = not about.is_out and not (written and kind in OVERWRITING)
        moved += size * (written + read) if number or kind not in PICKING else size_of(made)
    return moved + (0 if any(about.alias_info for about in func._schema.returns) else size_of(made))


def size_of(value: Any) -> int:
    tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return sum(min(x.numel() * x.element_size(), x.untyped_storage().nbytes()) for x in tensors)


def flop_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> int:
    """2 for each multiply-add of a matrix product or of attention, 0 of any other op."""
    kind = func.overloadpacket.__name__
    if kind == "_scaled_dot_product_flash_attention_for_cpu":
        return sdpa_flop_count(*(x.shape for x in args[:3]))
    if kind == "_scaled_dot_product_flash_attention_for_cpu_backward":
        return sdpa_backward_flop_count(*(x.shape for x in args[:4]))
    formula = flop_registry.get(func.overloadpacket)
    return formula(*args, **kwargs, out_val=made) if formula else 0
