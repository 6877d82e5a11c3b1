"""`rope-mt bench data`: preparing and streaming a corpus, measured in processes of their own."""

import itertools
import os
import re
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from rope_mt.bench.machine import proc
from rope_mt.config.commands import BenchDataConfig
from rope_mt.config.data import DataConfig
from rope_mt.data import text
from rope_mt.data.corpus import locate
from rope_mt.data.prepare import prepare
from rope_mt.errors import UserError
from rope_mt.system.disk import cannot_write

WMT14_PAIRS = 4_500_000
STREAM_SECONDS = 20.0  # for how long batches are drawn, or to the end of an epoch


def measure(cfg: BenchDataConfig) -> dict[str, Any]:
    """Prepare a corpus and stream it, each in a fresh process.

    Raises:
        UserError: there is no text to measure with.
    """
    with _corpus(cfg) as (data, what):
        prepared = _in_a_process(measure_prepare, data)
        stream = _in_a_process(measure_stream, data)
        batches = _in_a_process(measure_batches, data, cfg.bench.batch_tokens)
    return {"corpus": what, "prepare": prepared, "stream": stream, "batches": batches}


@contextmanager
def _corpus(cfg: BenchDataConfig) -> Iterator[tuple[DataConfig, str]]:
    """A corpus of plain text in a temporary folder: that of `data`, or what stands in for WMT14, repeated."""
    data, names, pairs, what = cfg.data, cfg.data.train, cfg.bench.pairs, cfg.data.name
    if data.origin:  # a small corpus, quickly made or fetched
        locate(data)
    langs = (data.src_lang, data.tgt_lang)
    if not all(text.is_there(name, *langs) for name in names):
        names, pairs, what = cfg.bench.text, pairs or WMT14_PAIRS, f"text that stands in for {data.name}"
        if not all(text.is_there(name, *langs) for name in names):
            raise UserError(
                f"data={data.name} is not there, nor is text to stand in for it: run rope-mt prepare data={data.name}, "
                "or name text that is like it: bench.text=PREFIX"
            )
    files = text.pairs_of_files(names, *langs)
    if not (there := sum(text.count(source) for source, _ in files)):
        raise UserError(f"{', '.join(names)}: there is no line in it")
    pairs = pairs or there
    with ExitStack() as kept:
        try:
            Path(data.dir).mkdir(parents=True, exist_ok=True)
            folder = kept.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=data.dir))
            for name, n in (("train", pairs), ("test", 10)):
                repeated = itertools.chain.from_iterable(text.aligned(*sides) for sides in itertools.cycle(files))
                with open(f"{folder}/{name}.{langs[0]}", "wb") as src, open(f"{folder}/{name}.{langs[1]}", "wb") as tgt:
                    for src_line, tgt_line in itertools.islice(repeated, n):
                        src.write(src_line + b"\n")
                        tgt.write(tgt_line + b"\n")
        except OSError as error:
            raise cannot_write(Path(data.dir) / "bench", error) from error
        test = [f"{folder}/test"]
        bare = replace(data, train=[f"{folder}/train"], valid=test, test=test, origin="", archives=[], dir=folder)
        yield bare, f"{pairs:,} pairs of {what}" + (f", which are {there:,} repeated" if pairs > there else "")


def _in_a_process(measure: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *args).result()


def measure_prepare(cfg: DataConfig) -> dict[str, Any]:
    """What `prepare` takes for a corpus that it has not seen."""
    began = time.perf_counter()
    prepared = prepare(cfg)
    seconds = time.perf_counter() - began
    written = {name: (prepared.folder / name).stat().st_mtime for name in ("sentencepiece.model", "meta.json")}
    encoding = written["meta.json"] - written["sentencepiece.model"]  # from the one to the other ids are made
    meta = prepared.meta
    tokens = sum(meta["tokens"].values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "pairs": meta["kept"],
        "tokens": tokens,
        "seconds": seconds,
        "encoding and writing": {
            "seconds": encoding,
            "pairs/s": meta["kept"] / encoding,
            "tokens/s": tokens / encoding,
        },
        "peak memory, MB": peak / 1e6,
    }


def measure_stream(cfg: DataConfig) -> dict[str, Any]:
    """The data side of a training process: how fast an epoch begins and flows on one core, and the memory it takes."""
    import torch

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with _peak_of(_anonymous_memory) as peak:
        base = _anonymous_memory()
        from rope_mt.data.datamodule import TranslationData

        corpus = locate(cfg)
        prepared = prepare(cfg, corpus)
        began = time.perf_counter()
        data = TranslationData(cfg, prepared, corpus, seed=1)
        opening = time.perf_counter() - began
        starts, tokens, pairs, batches, flowing = [], 0, 0, 0, 0.0
        for epoch in range(2):
            data.plan.epoch = epoch
            began = time.perf_counter()
            loader = iter(data.train_dataloader())
            batch = next(loader)
            starts.append(time.perf_counter() - began)
            began = time.perf_counter()
            while batch is not None and flowing + time.perf_counter() - began < STREAM_SECONDS * (epoch + 1) / 2:
                pairs += len(batch.src)
                tokens += batch.n_tokens + int(np.count_nonzero(batch.src.numpy()))
                batches += 1
                batch = next(loader, None)
            flowing += time.perf_counter() - began
    grown = None if base is None else (peak[0] - base) / 1e6
    return {
        "opening, seconds": opening,
        "start of an epoch, seconds": max(starts),
        "batches drawn": batches,
        "slots of a batch": cfg.batch_tokens,
        "pairs/s": pairs / flowing,
        "real tokens/s": tokens / flowing,
        "anonymous memory beyond torch, MB": grown,
    }


def _anonymous_memory() -> int | None:
    """Bytes of this process that are no mapped file; None where the system does not tell."""
    found = re.search(r"RssAnon:\s+(\d+) kB", proc("self/status"))
    return int(found[1]) * 1024 if found else None


@contextmanager
def _peak_of(read: Callable[[], int | None]) -> Iterator[list[int]]:
    """The highest of many readings while the body runs."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            peak[0] = max(peak[0], read() or 0)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        ended.set()
        watching.join()


def measure_batches(cfg: DataConfig, budgets: list[int]) -> dict[str, Any]:
    """How full batches are, and how many of those that share one share one again in the next epoch."""
    from rope_mt.data.batches import training_pairs
    from rope_mt.data.epoch import EpochPlan

    src, tgt = training_pairs(cfg, prepare(cfg), seed=1).lengths()
    found = {}
    for budget in budgets:
        plan = EpochPlan(src, tgt, replace(cfg, batch_tokens=budget), seed=1)
        first = plan.batches()
        plan.epoch = 1
        found[f"{budget:,} slots"] = {
            "batches": len(first),
            "padding efficiency": efficiency(first, src, tgt, plan.most),
            "sharing a batch again": shared_again(first, plan.batches(), len(src)),
        }
    return found


def efficiency(batches: list[np.ndarray], src: np.ndarray, tgt: np.ndarray, most: int) -> float:
    """Real tokens of both sides over slots, (slots of the longest source + of the longest target) x pairs."""
    from rope_mt.data.epoch import on_grid

    real = sum(int(src[rows].sum() + tgt[rows].sum()) for rows in batches)
    src, tgt = on_grid(src, most), on_grid(tgt, most)
    return real / sum(len(rows) * int(src[rows].max() + tgt[rows].max()) for rows in batches)


def shared_again(first: list[np.ndarray], second: list[np.ndarray], n: int) -> float:
    """Of all twos of examples that share a batch in one epoch, the part that share one in the other as well."""
    at = np.full((2, n), -1, dtype=np.int64)
    for batches, place in zip((first, second), at, strict=True):
        for number, rows in enumerate(batches):
            place[rows] = number
    one, other = at[:, (at >= 0).all(axis=0)]
    both = np.unique(one * len(second) + other, return_counts=True)[1].astype(float)
    before = np.array([len(rows) for rows in first], dtype=float)
    return float((both * (both - 1)).sum() / (before * (before - 1)).sum())
