"""`rope-mt bench train bench.count=true`: the ops, bytes and FLOP of a training step on a GPU, counted without one.

The step is taken with fake tensors, which have shapes and no numbers, in the code paths of a GPU. Three figures of a
GPU make an estimate of its time from that: paper, not a measurement.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from rope_mt.bench.steps import as_trained, shape
from rope_mt.config.commands import GPUS, BenchTrainConfig, CountSettings, TrainConfig
from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD
from rope_mt.model.transformer import Transformer
from rope_mt.system.device import computing_in
from rope_mt.training import optimizers
from rope_mt.training.module import clipping, loss_of, norm_of, not_finite

WIDTH = 32  # slots of each source and each target
FILLED = 0.95  # of the target's slots
REACHED = {"bandwidth": 0.8, "FLOP/s": 0.7}  # fractions of the data sheet's figures that good kernels reach
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}
OVERWRITING = {"copy_", "fill_", "zero_", "_foreach_copy_"}  # they do not read what they change
PICKING = {"embedding", "gather", "index", "index_select"}  # they read as much of their first argument as they return
PLACING = {"index_copy_", "scatter_", "scatter_add_"}  # they change as much of their first argument as of their index
OF_ROWS = {  # each number, or row, of the result comes from the same one of the arguments
    *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "addcmul_", "copy_", "_to_copy", "cat"),
    *("stack", "relu", "threshold_backward", "native_dropout", "native_dropout_backward", "native_layer_norm"),
    *("native_layer_norm_backward", "softmax", "_softmax", "_softmax_backward_data", "index_copy_", "masked_fill_"),
    *("clamp", "log", "exp", "softplus", "softplus_backward", "cos", "sin", "constant_pad_nd"),
}


def count(cfg: BenchTrainConfig) -> dict[str, Any]:
    """Count a step in bf16, the second one, with pairs of one width that fill `data.batch_tokens`."""
    vocabulary = cfg.data.vocab_size
    settings = as_trained(cfg, cfg.position)  # which says for how many tokens rope was trained
    with FakeTensorMode():
        model, batch = Transformer(cfg.model, cfg.position, vocabulary, PAD), batch_of(cfg)
        step, optimizer = step_of(model, settings, batch)
        step()  # the optimizer makes its state
        with Counting(leaves([model.state_dict(), optimizer.state_dict()["state"], [*batch]])) as counting:
            step()
    pairs, tokens = len(batch.src), batch.n_tokens
    kinds, bytes_of = Counter(op.kind for op in counting.ops), Counter[str]()
    for op in counting.ops:
        bytes_of[op.kind] += op.moved
    ops, moved, flop = len(counting.ops), sum(op.moved for op in counting.ops), sum(op.flop for op in counting.ops)
    kernels, moved_by_kernels = fused(counting.ops)
    return {
        "model": f"{shape(cfg.model)}, {cfg.model.attention}",
        "position": cfg.position.name,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "batch": f"{pairs:,} pairs of {WIDTH} + {WIDTH} slots, {FILLED:.0%} filled; vocabulary {vocabulary:,}; bf16",
        "ops": ops,
        "GB": moved / 1e9,
        "TFLOP": flop / 1e12,
        "peak memory, GB": counting.peak / 1e9,
        "kinds of op": {kind: f"{kinds[kind]:>5,} ops {size / 1e9:>7,.2f} GB" for kind, size in bytes_of.most_common()},
        "estimate": assumed(cfg.bench) | estimate(cfg.bench, moved, flop, ops, tokens),
        "estimate with ops of rows fused": {
            "assumed": "ops of numbers or rows that follow each other are one kernel",
            "kernels": kernels,
            "GB": moved_by_kernels / 1e9,
            **estimate(cfg.bench, moved_by_kernels, flop, kernels, tokens),
        },
    }


def batch_of(cfg: BenchTrainConfig, device: str = "cpu") -> Batch:
    """Pairs of WIDTH slots a side that fill `data.batch_tokens`."""
    pairs = max(1, cfg.data.batch_tokens // (2 * WIDTH))
    where = torch.arange(int(FILLED * pairs * WIDTH), device=device)
    ids = torch.ones(pairs, WIDTH, dtype=torch.int64, device=device)
    return Batch(ids, ids.clone(), torch.ones_like(where), where)


def step_of(model: Transformer, cfg: TrainConfig, batch: Batch) -> tuple[Callable[[], None], torch.optim.Optimizer]:
    """All that TranslationModule computes for an update, and its optimizer."""
    optimizer = optimizers.configured(model, cfg.optimizer, cfg.trainer.max_steps, "bf16")["optimizer"]

    def step() -> None:
        with computing_in("bf16", batch.src.device):
            loss = loss_of(model, batch, cfg.optimizer.label_smoothing)
        loss.backward()
        norm = norm_of(model.parameters(), 1)
        optimizers.before_step(optimizer, clipping(norm, cfg.trainer.clip), not_finite(loss.detach(), norm))
        optimizer.step()
        optimizer.zero_grad()

    return step, optimizer


def sheet(bench: CountSettings) -> tuple[float, float]:
    """Bandwidth in TB/s, and TFLOP/s in bf16."""
    bandwidth, peak = GPUS[bench.gpu]
    return bench.bandwidth or bandwidth, bench.peak or peak


def assumed(bench: CountSettings) -> dict[str, Any]:
    bandwidth, peak = sheet(bench)
    return {
        "GPU": bench.gpu,
        "bandwidth": f"{bandwidth:g} TB/s, {REACHED['bandwidth']:.0%} of it reached",
        "matrix products": f"{peak:g} TFLOP/s, {REACHED['FLOP/s']:.0%} of it reached",
        "launch": f"{bench.launch:g} microseconds of the host for a kernel",
        "assumed": "an op is one kernel; its bytes move before it computes; host and GPU work at the same time",
    }


def seconds_of(
    bench: CountSettings, moved: int | float, flop: int | float, kernels: int | float
) -> tuple[float, float]:
    """The time that a step takes the GPU, and the host."""
    bandwidth, peak = sheet(bench)
    device = moved / (1e12 * bandwidth * REACHED["bandwidth"]) + flop / (1e12 * peak * REACHED["FLOP/s"])
    return device, kernels * bench.launch / 1e6


def estimate(bench: CountSettings, moved: int, flop: int, kernels: int, tokens: int) -> dict[str, Any]:
    """The time of a training step, and the target tokens a second that follow from it."""
    device, host = seconds_of(bench, moved, flop, kernels)
    return {
        "milliseconds of the GPU": 1000 * device,
        "milliseconds of the host": 1000 * host,
        "target tokens/s": tokens / max(device, host),
    }


class Op(NamedTuple):
    """An op that moves bytes: how many it reads and writes of each memory, which a number names."""

    kind: str
    reads: Counter[int]
    writes: Counter[int]
    flop: int

    @property
    def moved(self) -> int:
        return self.reads.total() + self.writes.total()


class Counting(TorchDispatchMode):
    """Keeps a list of all ops but views and allocations. Whoever asks for a value is told 0, and has waited for it.

    Args:
        there: tensors that are there before the first op, and count for the peak.

    Attributes:
        waited: the ops that came before each wait.
        peak: the most bytes of tensors at one time.
    """

    def __init__(self, there: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.waited: list[int] = []
        self.peak = self._bytes = 0  # the second of all in `_there`
        # Of all arguments and results; while there is a weak reference, no other memory gets the same number.
        self._memories: dict[int, StorageWeakRef] = {}
        self._there: dict[int, int] = {}  # bytes of each, by number; what is freed leaves where a peak is looked for
        self._notice(there)

    def _notice(self, tensors: Iterable[Tensor]) -> None:
        for storage in (tensor.untyped_storage() for tensor in tensors):
            if storage._cdata not in self._memories:
                self._memories[storage._cdata] = StorageWeakRef(storage)
                self._there[storage._cdata] = storage.nbytes()
                self._bytes += storage.nbytes()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            self.waited.append(len(self.ops))
            return 0
        made = func(*args, **kwargs)
        kind = func.overloadpacket.__name__
        self._notice(leaves((args, kwargs, made)))
        if self._bytes > self.peak:
            self._there = {n: size for n, size in self._there.items() if not self._memories[n].expired()}
            self._bytes = sum(self._there.values())
            self.peak = max(self.peak, self._bytes)
        if func.namespace == "aten" and not func.is_view and kind not in ALLOCATIONS:
            self.ops.append(Op(kind, *moved_by(func, args, kwargs, made), flop_of(func, args, kwargs, made)))
        return made


def moved_by(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> tuple[Counter[int], Counter[int]]:
    """The bytes that an op reads and those that it writes. Numbers that a view repeats are moved once."""
    kind, arguments = func.overloadpacket.__name__, func._schema.arguments
    given = {**{about.name: value for about, value in zip(arguments, args, strict=False)}, **kwargs}
    reads: Counter[int] = Counter()
    writes: Counter[int] = Counter()
    for number, about in enumerate(arguments):
        written = about.alias_info is not None and about.alias_info.is_write
        part = None if number else given["index"] if kind in PLACING else made if kind in PICKING else None
        for leaf in leaves(given.get(about.name)):
            size = size_of(leaf) if part is None else sum(map(size_of, leaves(part)))
            if not about.is_out and not (written and kind in OVERWRITING):
                reads[leaf.untyped_storage()._cdata] += size
            if written:
                writes[leaf.untyped_storage()._cdata] += size
    if not any(about.alias_info for about in func._schema.returns):
        for leaf in leaves(made):
            writes[leaf.untyped_storage()._cdata] += size_of(leaf)
    return reads, writes


def fused(ops: list[Op]) -> tuple[int, int]:
    """Kernels, and their bytes, if ops OF_ROWS that follow each other were one.

    It reads once what they need and have not made, and writes what others read later.
    """
    last_read = {memory: number for number, op in enumerate(ops) for memory in op.reads}
    kernels = moved = end = 0
    for of_rows, group in groupby(ops, lambda op: op.kind in OF_ROWS):
        together = list(group)
        end += len(together)
        if not of_rows:
            kernels, moved = kernels + len(together), moved + sum(op.moved for op in together)
            continue
        reads: Counter[int] = Counter()
        writes: Counter[int] = Counter()
        for op in together:
            reads |= Counter({memory: size for memory, size in op.reads.items() if memory not in writes})
            writes |= op.writes
        kernels += 1
        moved += reads.total() + sum(size for memory, size in writes.items() if last_read.get(memory, 0) >= end)
    return kernels, moved


def leaves(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def size_of(x: Tensor) -> int:
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


def flop_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> int:
    """2 for each multiply-add of a matrix product or of attention, 0 of any other op."""
    kind = func.overloadpacket.__name__
    if kind == "_scaled_dot_product_flash_attention_for_cpu":
        return sdpa_flop_count(*(x.shape for x in args[:3]))
    if kind == "_scaled_dot_product_flash_attention_for_cpu_backward":
        return sdpa_backward_flop_count(*(x.shape for x in args[:4]))
    formula = flop_registry.get(func.overloadpacket)
    return formula(*args, **kwargs, out_val=made) if formula else 0
