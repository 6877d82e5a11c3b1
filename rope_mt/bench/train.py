"""`rope-mt bench train`: how fast training is, where its time goes, and `torch.nn.Transformer` on the same batches.

Ours trains alone first, which tells its rate, its parts and its memory. Then both train in turns (see `steps`). On a
CPU each does so with as many threads as are its fastest.
"""

import sys
import time
from collections.abc import Iterator
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from rope_mt.bench import flops
from rope_mt.bench.steps import SEED, WARM_UP, Training, as_trained, by_twos, endless, finish, in_turns, seconds, spread
from rope_mt.bench.yardstick import Yardstick
from rope_mt.config.commands import BenchTrainConfig
from rope_mt.data.batches import Batch
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare
from rope_mt.data.tokenizer import PAD
from rope_mt.system.device import choose_device, choose_precision, describe, peak_memory

OURS, THEIRS = "rope-mt", "torch.nn.Transformer"
PARTS = ("data", "forward", "backward", "optimizer")
TRIALS = 4  # batches on which a number of threads is tried


class Lengths(NamedTuple):
    """What a batch holds."""

    src: np.ndarray  # tokens of each source, eos counted
    tgt: np.ndarray  # and of its target
    slots: int  # places of both sides, padding among them

    @classmethod
    def of(cls, batch: Batch) -> "Lengths":
        rows, width = batch.tgt_in.shape
        src = (batch.src != PAD).sum(dim=1).numpy()
        tgt = np.bincount(batch.where.numpy() // width, minlength=rows)
        return cls(src, tgt, batch.src.numel() + batch.tgt_in.numel())


def measure(cfg: BenchTrainConfig) -> dict[str, Any]:
    """Train for `bench.steps` steps alone and as many beside the yardstick; lines on standard error tell how it goes.

    Raises:
        UserError: there is no such device, the text is not there, or the model does not go with the scheme.
    """
    device = choose_device(cfg.device)
    precision = choose_precision(cfg.precision, device)
    train = as_trained(cfg, cfg.position)
    text_of = locate(cfg.data)
    data = TranslationData(cfg.data, prepare(cfg.data, text_of), text_of, SEED)
    batches = endless(data)
    threads = torch.get_num_threads()
    m = cfg.model
    found = {
        "corpus": cfg.data.name,
        "slots of a batch": cfg.data.batch_tokens,
        "model": f"{m.name}: {m.n_layers}+{m.n_layers} layers, d_model {m.d_model}, {m.n_heads} heads, {m.attention}",
        "position": cfg.position.name,
        "vocabulary": len(data.tokenizer),
        "device": describe(device),
        "precision": precision,
        "steps": cfg.bench.steps,
    }
    try:
        before = peak_memory(device)
        ours = Training.of(train, data, precision, device)
        found["parameters"] = sum(p.numel() for p in ours.module.parameters())
        choose_threads(OURS, ours, islice(batches, TRIALS), threads)
        found["threads"] = ours.threads
        for batch in islice(batches, WARM_UP):
            seconds(ours, ours.moved(batch))
        lengths, times = alone(ours, batches, cfg.bench.steps)
        memory = {"before training": before, "in training": peak_memory(device)}
        flop = None
        if m.attention == "softmax":
            flop = [flops.of_step(m, len(data.tokenizer), each.src, each.tgt) for each in lengths]
        found |= summary(lengths, times, flop, flops.of_products(precision, device))
        found["peak memory, MB"] = {name: None if size is None else size / 1e6 for name, size in memory.items()}
        print(f"{OURS}: {found['target tokens/s']:,.0f} target tokens/s", file=sys.stderr, flush=True)
        if cfg.bench.yardstick:
            torch.manual_seed(SEED)
            theirs = Training(Yardstick(train, len(data.tokenizer)), precision, device)
            choose_threads(THEIRS, theirs, islice(batches, TRIALS), threads)
            found["systems"] = beside(ours, theirs, batches, cfg.bench.steps)
    finally:
        torch.set_num_threads(threads)
    return found


def choose_threads(name: str, training: Training, batches: Iterator[Batch], most: int) -> None:
    """Let it step with one thread, half of them and all, and keep what is fastest; a GPU does not care."""
    if training.device.type != "cpu":
        return
    choices = sorted({1, max(1, most // 2), most})
    taken = dict.fromkeys(choices, 0.0)
    for batch in batches:
        there = training.moved(batch)
        training.step(there)  # what is slow at the first time only
        for training.threads in choices:
            taken[training.threads] += seconds(training, there)
    training.threads = min(choices, key=lambda n: taken[n])
    print(f"{name}: {training.threads} of {most} threads", file=sys.stderr, flush=True)


def beside(ours: Training, theirs: Training, batches: Iterator[Batch], steps: int) -> dict[str, dict[str, Any]]:
    """Let both train in turns for so many steps, or one more where that is odd."""
    drawn = list(islice(batches, WARM_UP + steps + steps % 2))
    print(f"{OURS} and {THEIRS} in turns on {len(drawn)} batches", file=sys.stderr, flush=True)
    pairs = list(in_turns(ours, theirs, drawn))[WARM_UP:]
    tokens = [batch.n_tokens for batch in drawn[WARM_UP:]]
    return against(pairs, tokens, ours.threads, theirs.threads)


class Stopwatch:
    """Notes when the device comes to a point of the program. A GPU is not waited for: it runs on, as in training."""

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
        """When each mark was passed, counted from the first."""
        finish(self.device)
        if self.device.type == "cuda":
            return np.array([self.marks[0].elapsed_time(mark) / 1e3 for mark in self.marks])
        return np.array(self.marks) - self.marks[0]


def alone(
    training: Training, batches: Iterator[Batch], steps: int
) -> tuple[list[Lengths], Float[np.ndarray, "steps parts"]]:
    """Draw batches and train on them: what they held, and the seconds of each part of each step."""
    torch.set_num_threads(training.threads)
    watch, lengths = Stopwatch(training.device), []
    for _ in range(steps):
        watch.mark()
        batch = next(batches)
        there = training.moved(batch)
        watch.mark()
        training.step(there, watch.mark)
        lengths.append(Lengths.of(batch))  # not timed
    return lengths, np.diff(watch.seconds().reshape(steps, -1), axis=1)


def summary(
    lengths: list[Lengths], times: Float[np.ndarray, "steps parts"], flop: list[int] | None, reachable: float
) -> dict[str, Any]:
    """Rates are medians over steps; milliseconds are means, so that parts sum to the step.

    Args:
        flop: of each step, where they can be counted.
        reachable: FLOP a second of a matrix product.
    """
    tokens = [int(each.tgt.sum()) for each in lengths]
    real = sum(int(each.src.sum()) for each in lengths) + sum(tokens)
    whole = times.sum(axis=1)
    reached = None if flop is None else float(median(np.array(flop) / whole))
    return {
        "target tokens/s": float(median(np.array(tokens) / whole)),
        "target tokens per step": sum(tokens) / len(tokens),
        "real tokens over slots": real / sum(each.slots for each in lengths),
        "milliseconds per step": {
            "all": float(1000 * whole.mean()),
            **dict(zip(PARTS, (1000 * times.mean(axis=0)).tolist(), strict=True)),
        },
        "GFLOP/s": None if reached is None else reached / 1e9,
        "GFLOP/s of a matrix product": reachable / 1e9,
        "share of it": None if reached is None else reached / reachable,
    }


def against(
    pairs: list[tuple[float, float]], tokens: list[int], threads: int, their_threads: int
) -> dict[str, dict[str, Any]]:
    """Medians over batches of ours and the yardstick, and how many times as fast as it ours is.

    Args:
        pairs: seconds of ours and of the yardstick on each batch that was drawn before.
        tokens: real target tokens of each.
    """
    found = {}
    for name, times, n in zip((OURS, THEIRS), np.array(pairs).T, (threads, their_threads), strict=True):
        rate = float(median(np.array(tokens) / times))
        found[name] = {"target tokens/s": rate, "seconds": float(median(times)), "threads": n}
    ours, theirs = by_twos(pairs)
    found[THEIRS] |= spread(theirs / ours)
    return found


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each system, under a heading: its rate without drawing batches, and how much faster ours is."""
    form = "{:<22}{:>16}{:>10}{:>9}{:>13}   {}"
    lines = [form.format("system", "target tokens/s", "s/step", "threads", "ours faster", "quartiles")]
    for name, row in found.items():
        faster, quartiles = "", ""
        if "ratio" in row:
            faster = f"{row['ratio']:.2f} x"
            quartiles = f"{row['lower quartile']:.2f} to {row['upper quartile']:.2f}"
        numbers = (f"{row['target tokens/s']:,.0f}", f"{row['seconds']:.4f}", row["threads"])
        lines.append(form.format(name, *numbers, faster, quartiles).rstrip())
    return lines
