"""`rope-mt bench train`: how fast training is, where its time goes, and `torch.nn.Transformer` on the same batches.

Our model trains alone first, which shows its rate, its parts and its memory. Then it takes turns with the baseline (see
`steps`), both in each precision that this machine computes natively. On a CPU each has its fastest number of threads.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.fabric.utilities import move_data_to_device

from rope_mt.bench.count import count
from rope_mt.bench.peers import Baseline
from rope_mt.bench.steps import (
    SEED,
    Times,
    Training,
    as_trained,
    endless,
    finish,
    first_batches,
    in_turns,
    precisions,
    ratio,
    seconds,
    setup,
    time_of,
    warm_up,
)
from rope_mt.config.commands import BenchTrainConfig, TrainConfig
from rope_mt.config.training import ModelConfig
from rope_mt.data.batches import Batch
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.tokenizer import PAD
from rope_mt.system.device import peak_memory
from rope_mt.training.compiling import require_compiler

OURS, BASELINE = "rope-mt", "torch.nn.Transformer"
PARTS = ("data", "forward", "backward", "optimizer")
SHAPES = 2  # of the batches on which a compiled model is timed: each takes up to a minute to compile
TRIALS = 4  # batches on which each number of threads is tried
PRODUCTS = 8  # large matrix products, of which the fastest counts
SIDE = {"cpu": 2_048, "cuda": 8_192}  # of their square matrices: large enough that one can be timed


class Content(NamedTuple):
    src: np.ndarray  # tokens of each source, with eos
    tgt: np.ndarray  # tokens of each target, with eos
    slots: int  # of both sides, padding included


def measure(cfg: BenchTrainConfig) -> dict[str, Any]:
    """Train for `bench.steps` steps alone and as many beside the baseline; lines on standard error tell how it goes."""
    if cfg.bench.count:
        return count(cfg)
    if cfg.bench.compile:
        require_compiler()
    settings = as_trained(cfg, cfg.position)
    data, precision, device, report = setup(cfg)
    report["steps"] = cfg.bench.steps
    batches = endless(data)
    threads = torch.get_num_threads()
    memory = {"before training": peak_memory(device)}
    ours = Training.of(settings, data, precision, device)
    choose_threads(f"{OURS} {precision}", ours, islice(batches, TRIALS), threads)
    report |= {"parameters": ours.parameters, "threads": ours.threads}
    warm_up(ours, first_batches(data, TRIALS + cfg.bench.steps)[TRIALS:])
    contents, times = alone(ours, batches, cfg.bench.steps)
    memory["in training"] = peak_memory(device)
    flop = None
    if cfg.model.attention == "softmax":
        flop = [flop_of_step(cfg.model, len(data.tokenizer), batch.src, batch.tgt) for batch in contents]
    report |= summary(contents, times, flop, flop_per_second(precision, device))
    report["peak memory, MB"] = {name: None if size is None else size / 1e6 for name, size in memory.items()}
    print(f"{OURS} {precision}: {report['target tokens/s']:,.0f} target tokens/s", file=sys.stderr)
    if cfg.bench.yardstick or cfg.bench.compile:
        torch.set_num_threads(threads)  # others may take more than ours
        report |= beside(cfg, settings, data, ours, batches)
    return report


def beside(
    cfg: BenchTrainConfig, settings: TrainConfig, data: TranslationData, ours: Training, batches: Iterator[Batch]
) -> dict[str, Any]:
    """Train our model in turns with what it is compared with: compiled, in other precisions, and the baseline."""
    precision, device, most = ours.precision, ours.device, torch.get_num_threads()
    systems = {f"{OURS} {precision}": ours}
    if cfg.bench.compile:
        compiled = replace(settings, trainer=replace(settings.trainer, compile=True))
        systems[f"{OURS} {precision} compiled"] = Training.of(compiled, data, precision, device)
        batches = of_few_shapes(batches)
    for name in precisions(BASELINE, device) if cfg.bench.yardstick else []:
        if name != precision:
            systems[f"{OURS} {name}"] = Training.of(settings, data, name, device)
        torch.manual_seed(SEED)
        systems[f"{BASELINE} {name}"] = Training(Baseline(settings, len(data.tokenizer)), name, device)
    for name, training in systems.items():
        if training is not ours:
            choose_threads(name, training, islice(batches, TRIALS), most)
    drawn = list(islice(batches, cfg.bench.steps + cfg.bench.steps % 2))
    print(f"{', '.join(systems)} in turns on {len(drawn)} batches", file=sys.stderr)
    times, tokens = in_turns([*systems.values()], drawn), [batch.n_tokens for batch in drawn]
    rows = against(times, tokens, {name: training.threads for name, training in systems.items()})
    report: dict[str, Any] = {"systems": rows}
    if cfg.bench.yardstick:
        best = min(rows[name]["ratio"] for name in rows if name.startswith(BASELINE))
        report = {"ours faster, best against best": best, **report}
    if cfg.bench.compile:
        report = {"compiled faster": ratio(times[[1, 0]])["ratio"], **report}
    return report


def of_few_shapes(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches that have one of the first SHAPES shapes."""
    known: set[tuple[torch.Size, torch.Size]] = set()
    for batch in batches:
        shapes = batch.src.shape, batch.tgt_in.shape
        if len(known) < SHAPES:
            known.add(shapes)
        if shapes in known:
            yield batch


def choose_threads(name: str, training: Training, batches: Iterator[Batch], most: int) -> None:
    """On a CPU, set `training.threads` to the fastest number: one, half of them, or all."""
    if training.device.type != "cpu":
        return
    times = dict.fromkeys(sorted({1, max(1, most // 2), most}), 0.0)
    for batch in batches:
        for training.threads in times:
            seconds(training, batch)  # the first step on a batch is slow, with each number of threads
            times[training.threads] += seconds(training, batch)
    training.threads = min(times, key=lambda n: times[n])
    print(f"{name}: {training.threads} of {most} threads", file=sys.stderr)


class Stopwatch:
    """Notes when the device reaches points of the program. It does not wait for a GPU, which runs on as in training."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[Any] = []

    def mark(self) -> None:
        if self.device.type == "cuda":
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            finish(self.device)
            self.marks.append(time.perf_counter())

    def seconds(self) -> Float[np.ndarray, " marks"]:
        """The time of each mark after the first."""
        finish(self.device)
        if self.device.type == "cuda":
            return np.array([self.marks[0].elapsed_time(mark) / 1e3 for mark in self.marks])
        return np.array(self.marks) - self.marks[0]


def alone(
    training: Training, batches: Iterator[Batch], steps: int
) -> tuple[list[Content], Float[np.ndarray, "steps parts"]]:
    """Draw batches and train on them; return their contents, and the seconds of each part of each step."""
    torch.set_num_threads(training.threads)
    watch, contents = Stopwatch(training.device), []
    for _ in range(steps):
        watch.mark()
        batch = next(batches)
        moved = move_data_to_device(batch, training.device)
        watch.mark()
        training.step(moved, watch.mark)
        contents.append(content(batch))  # not timed
    return contents, np.diff(watch.seconds().reshape(steps, -1), axis=1)


def content(batch: Batch) -> Content:
    rows, width = batch.tgt_in.shape
    src = (batch.src != PAD).sum(dim=1).numpy()
    tgt = np.bincount(batch.where.numpy() // width, minlength=rows)
    return Content(src, tgt, batch.src.numel() + batch.tgt_in.numel())


def flop_of_step(
    model: ModelConfig, vocab_size: int, src: Int[np.ndarray, " pairs"], tgt: Int[np.ndarray, " pairs"]
) -> int:
    """FLOP of the matrix products of real tokens (eos counted) in a training step: 2 per multiply-add.

    With d = d_model, f = d_ff, and s and t tokens in a source and its target, the forward pass multiplies and adds

        encoder layer   s (4 d^2 + 2 d f) + 2 s^2 d                              last term: scores, weights times values
        decoder layer   t (6 d^2 + 2 d f) + 2 s d^2 + 2 t^2 d + 2 t s d
        output layer    t d vocab_size

    times in each pair. Backward makes two products of the same size from each. Softmax, norms, the optimizer and the
    products of a position scheme are not counted, so that schemes can be compared. Causal attention counts in full,
    although half of its scores are never used. Linear attention has no scores, so it has other counts.
    """
    d, f = model.d_model, model.d_ff
    s, t = int(src.sum()), int(tgt.sum())
    encoder = s * (4 * d**2 + 2 * d * f) + 2 * d * int((src * src).sum())
    decoder = t * (6 * d**2 + 2 * d * f) + s * 2 * d**2 + 2 * d * int((tgt * tgt + tgt * src).sum())
    forward = 2 * (model.n_layers * (encoder + decoder) + t * d * vocab_size)
    return 3 * forward


def flop_per_second(precision: str, device: torch.device) -> float:
    """FLOP per second of a plain product of two large square matrices, with torch's present number of threads."""
    side = SIDE.get(device.type, SIDE["cpu"])
    a, b = torch.randn(2, side, side, device=device).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    times = [time_of(lambda: torch.mm(a, b), device) for _ in range(PRODUCTS)]
    return 2 * side**3 / min(times)


def summary(
    contents: list[Content], times: Float[np.ndarray, "steps parts"], flop: list[int] | None, reachable: float
) -> dict[str, Any]:
    """Rates are medians over steps; milliseconds are means, so that the parts sum to the step.

    Args:
        flop: of each step; None if they cannot be counted.
        reachable: FLOP per second of a matrix product.
    """
    tokens = [int(batch.tgt.sum()) for batch in contents]
    real = sum(int(batch.src.sum()) for batch in contents) + sum(tokens)
    whole = times.sum(axis=1)
    reached = None if flop is None else float(median(np.array(flop) / whole))
    parts = dict(zip(PARTS, (1000 * times.mean(axis=0)).tolist(), strict=True))
    return {
        "target tokens/s": float(median(np.array(tokens) / whole)),
        "target tokens per step": sum(tokens) / len(tokens),
        "real tokens over slots": real / sum(batch.slots for batch in contents),
        "milliseconds per step": {"all": float(1000 * whole.mean()), **parts},
        "GFLOP/s": None if reached is None else reached / 1e9,
        "GFLOP/s of a matrix product": reachable / 1e9,
        "share of it": None if reached is None else reached / reachable,
    }


def against(times: Times, tokens: list[int], threads: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Medians of each system over batches of so many target tokens, and how many times as fast our best one is."""
    rows = {}
    best = min((n for n, name in enumerate(threads) if name.startswith(OURS)), key=lambda n: median(times[n]))
    for number, (name, n) in enumerate(threads.items()):
        rate = float(median(np.array(tokens) / times[number]))
        rows[name] = {"target tokens/s": rate, "seconds": float(median(times[number])), "threads": n}
        if name.startswith(BASELINE):
            rows[name] |= ratio(times[[best, number]])
    return rows


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """A heading, and a line per system: its rate, drawing batches left out, and how much faster our best one is."""
    form = "{:<26}{:>16}{:>10}{:>9}{:>13}   {}"
    lines = [form.format("system", "target tokens/s", "s/step", "threads", "ours faster", "quartiles")]
    for name, row in rows.items():
        texts = [f"{row['target tokens/s']:,.0f}", f"{row['seconds']:.4f}", row["threads"], "", ""]
        if "ratio" in row:
            texts[3:] = f"{row['ratio']:.2f} x", f"{row['lower quartile']:.2f} to {row['upper quartile']:.2f}"
        lines.append(form.format(name, *texts).rstrip())
    return lines
