"""`rope-mt bench data`: how fast a corpus is prepared and streamed, each measured in a fresh process."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from rope_mt.config.commands import BenchDataConfig
from rope_mt.config.data import DataConfig
from rope_mt.data import text
from rope_mt.data.corpus import locate
from rope_mt.data.prepare import prepare
from rope_mt.errors import UserError
from rope_mt.system.disk import writing
from rope_mt.system.memory import peak_of_process

WMT14_PAIRS = 4_500_000
STREAM_SECONDS = 20.0  # half of it for drawing batches in each of two epochs, unless an epoch ends before


def measure(cfg: BenchDataConfig) -> dict[str, Any]:
    """Prepare a corpus, stream it, and look at its batches."""
    with _corpus(cfg) as (data, description):
        return {
            "corpus": description,
            "prepare": _in_a_process(measure_prepare, data),
            "stream": _in_a_process(measure_stream, data),
            "batches": _in_a_process(measure_batches, data, cfg.bench.batch_tokens),
        }


@contextmanager
def _corpus(cfg: BenchDataConfig) -> Iterator[tuple[DataConfig, str]]:
    """Plain text in a temporary folder and its description: the text of `data`, or text in its place, repeated."""
    data, names, pairs, description = cfg.data, cfg.data.train, cfg.bench.pairs, cfg.data.name
    if data.origin:  # a small corpus, which is quickly made or fetched
        locate(data)
    langs = (data.src_lang, data.tgt_lang)
    if not all(text.exists(name, *langs) for name in names):
        names, pairs, description = cfg.bench.text, pairs or WMT14_PAIRS, f"text that stands in for {data.name}"
        if not all(text.exists(name, *langs) for name in names):
            remedy = f"run rope-mt prepare data={data.name}, or name text that is like it: bench.text=PREFIX"
            raise UserError(f"data={data.name} is not there, nor is text to stand in for it: {remedy}")
    files = text.pairs_of_files(names, *langs)
    available, _ = text.size(source for source, _ in files)
    if not available:
        raise UserError(f"{', '.join(names)}: there is no line in it")
    pairs = pairs or available
    description = f"{pairs:,} pairs of {description}"
    if pairs > available:
        description += f", which are {available:,} repeated"
    with ExitStack() as stack:
        with writing(Path(data.dir) / "bench"):
            Path(data.dir).mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=data.dir))
            for name, n in (("train", pairs), ("test", 10)):
                repeated = chain.from_iterable(text.aligned(*sides) for sides in cycle(files))
                with open(f"{folder}/{name}.{langs[0]}", "wb") as src, open(f"{folder}/{name}.{langs[1]}", "wb") as tgt:
                    for src_line, tgt_line in islice(repeated, n):
                        src.write(src_line + b"\n")
                        tgt.write(tgt_line + b"\n")
        test = [f"{folder}/test"]
        plain = replace(data, train=[f"{folder}/train"], valid=test, test=test, origin="", archives=[], dir=folder)
        yield plain, description


def _in_a_process(measure: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *args).result()


def measure_prepare(cfg: DataConfig) -> dict[str, Any]:
    """Seconds and memory of `prepare` for a corpus that it has not seen."""
    began = time.perf_counter()
    prepared = prepare(cfg)
    seconds = time.perf_counter() - began
    # the ids are made after the tokenizer is written, and meta.json is written last
    model, meta = ((prepared.folder / name).stat().st_mtime for name in ("sentencepiece.model", "meta.json"))
    pairs, tokens = prepared.meta["kept"], sum(prepared.meta["tokens"].values())
    encoding = meta - model
    return {
        "pairs": pairs,
        "tokens": tokens,
        "seconds": seconds,
        "encoding and writing": {"seconds": encoding, "pairs/s": pairs / encoding, "tokens/s": tokens / encoding},
        "peak memory, MB": peak_of_process() / 1e6,
    }


def measure_stream(cfg: DataConfig) -> dict[str, Any]:
    """How fast an epoch begins and flows on one core of a training process, and how much memory that takes."""
    import torch

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    at_first = most = anonymous_memory()
    from rope_mt.data.datamodule import TranslationData

    corpus = locate(cfg)
    prepared = prepare(cfg, corpus)
    began = time.perf_counter()
    data = TranslationData(cfg, prepared, corpus.valid, seed=1)
    opening = time.perf_counter() - began
    starts, tokens, pairs, batches, flowing = [], 0, 0, 0, 0.0
    for epoch in range(2):
        data.plan.epoch = epoch
        began = time.perf_counter()
        loader = iter(data.train_dataloader())
        batch = next(loader)
        starts.append(time.perf_counter() - began)
        most = max(most, anonymous_memory())
        began = time.perf_counter()
        while batch is not None and flowing + time.perf_counter() - began < STREAM_SECONDS * (epoch + 1) / 2:
            pairs += len(batch.src)
            tokens += batch.n_tokens + int(np.count_nonzero(batch.src.numpy()))
            batches += 1
            batch = next(loader, None)
        flowing += time.perf_counter() - began
        most = max(most, anonymous_memory())
    return {
        "opening, seconds": opening,
        "start of an epoch, seconds": max(starts),
        "batches drawn": batches,
        "slots of a batch": cfg.batch_tokens,
        "pairs/s": pairs / flowing,
        "real tokens/s": tokens / flowing,
        "anonymous memory beyond torch, MB": (most - at_first) / 1e6 if at_first else None,
    }


def anonymous_memory() -> int:
    """Bytes of this process that no file holds; 0 where there is no /proc."""
    status = Path("/proc/self/status")
    found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    return 1024 * int(found[1]) if found else 0


def measure_batches(cfg: DataConfig, budgets: list[int]) -> dict[str, Any]:
    """How full batches are, and how often two pairs that share a batch share one again in the next epoch."""
    from rope_mt.data.batches import training_pairs
    from rope_mt.data.epoch import EpochPlan

    src, tgt = training_pairs(cfg, prepare(cfg), seed=1).lengths()
    report = {}
    for budget in budgets:
        plan = EpochPlan(src, tgt, budget, cfg.max_len, seed=1)
        first, fill = [batch.rows for batch in plan.batches()], plan.efficiency()
        plan.epoch = 1
        report[f"{budget:,} slots"] = {
            "batches": len(first),
            "shapes": len(plan.shapes),
            "padding efficiency": fill,
            "sharing a batch again": shared_again(first, [batch.rows for batch in plan.batches()], len(src)),
        }
    return report


def shared_again(first: list[np.ndarray], second: list[np.ndarray], n: int) -> float:
    """Among all twos of n pairs that share a batch in the first epoch, the fraction that share one in the second."""
    batch_of = np.full((2, n), -1, dtype=np.int64)
    for batches, numbers in zip((first, second), batch_of, strict=True):
        for number, rows in enumerate(batches):
            numbers[rows] = number
    in_first, in_second = batch_of[:, (batch_of >= 0).all(axis=0)]
    both = np.unique(in_first * len(second) + in_second, return_counts=True)[1].astype(float)
    before = np.array([len(rows) for rows in first], dtype=float)
    return float((both * (both - 1)).sum() / (before * (before - 1)).sum())
