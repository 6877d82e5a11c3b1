"""What `trainer.precision=auto` comes to. On a CPU that multiplies in bf16, both precisions are timed once."""

import os
import time
from pathlib import Path
from typing import NamedTuple

import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.config.position import SinusoidalConfig
from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD
from rope_mt.model.transformer import Transformer
from rope_mt.runs.folder import RunFolder, default_folder, key_of, run_hash
from rope_mt.runs.published import find_record
from rope_mt.runs.result import read_result
from rope_mt.system.device import PRECISIONS, choose_device, choose_precision, computing_in, processor
from rope_mt.system.locks import only_one
from rope_mt.system.manifest import read_manifest, write_manifest
from rope_mt.system.memory import short_of_memory
from rope_mt.training.module import loss_of

KEPT = "precision"  # folder in data.dir, beside the prepared text, and the name of its file
SLOTS, LENGTH = 4_096, 24  # of the batch that is timed: most tokens of both sides together, tokens of a sentence
ROUNDS, SECONDS = 5, 4.0  # steps in each precision that are timed, fewer when so much time has passed
EMULATED = 1.2  # times as long as in fp32: a product takes 2 to 5 where bf16 is emulated, and half where it is not


class Settled(NamedTuple):
    """The run that a configuration describes."""

    run: RunFolder
    recorded: bool  # it is a published record
    key: str
    precision: str
    note: str  # why it has this precision, or a warning about it, or ""


def settle(
    cfg: TrainConfig, fingerprints: dict[str, str], processes: int, folder: Path | None, keep: bool = True
) -> Settled:
    """Find the run, and the precision on which its key depends: of a run that has begun, the one that it began with.

    Args:
        folder: the run folder; None: named after what the run computes.
        keep: write down a precision that was measured.

    Raises:
        UserError: a run or a record was changed, or the precision that was measured cannot be kept.
    """
    keys = {name: run_hash(cfg, name, fingerprints, processes) for name in PRECISIONS}
    if record := find_record(cfg, fingerprints, processes):
        precision = read_result(record)["precision"]
        return Settled(record, True, keys[precision], precision, "")
    runs = {name: RunFolder(folder or default_folder(cfg, keys[name])) for name in PRECISIONS}
    if not cfg.overwrite:  # what will be overwritten may be damaged
        for name, run in runs.items():
            if key_of(run) == keys[name]:
                return Settled(run, False, keys[name], name, "")
    precision, note = choose(cfg, choose_device(cfg.trainer.device), keep)
    return Settled(runs[precision], False, keys[precision], precision, note)


def choose(cfg: TrainConfig, device: torch.device, keep: bool = True) -> tuple[str, str]:
    """The precision of a run that begins, and why it was chosen, or a warning, or "".

    The answer for a processor and a model is kept in `data.dir`. It is the same for all position schemes, so that they
    are compared in one precision.

    Args:
        keep: write down what was measured.

    Raises:
        UserError: the answer cannot be kept, or the kept one was changed.
    """
    precision = choose_precision(cfg.trainer.precision, device)
    if device.type != "cpu" or precision == "fp32":
        return precision, ""
    if cfg.trainer.precision == "bf16":
        longer = product_in_bf16()
        slow = f"warning: this processor emulates bf16: a small product takes {longer:.1f} times as long as in fp32"
        return precision, slow if longer > EMULATED else ""
    folder = Path(cfg.data.dir) / KEPT
    file, name = folder / f"{KEPT}.json", f"{processor()}, {_instructions()}"
    m = cfg.model
    model = f"{m.n_layers}+{m.n_layers} layers, d_model {m.d_model}, d_ff {m.d_ff}, {m.n_heads} heads, {m.attention}"
    model += f", {cfg.data.vocab_size} pieces, {cfg.data.batch_tokens} slots"
    known = _read(file).get(name, {}).get(model)
    if known is None and not keep:
        known = step_seconds(cfg)
    elif known is None:
        with only_one(folder):
            answers = _read(file)  # again: another process may have measured meanwhile
            of_processor = answers.setdefault(name, {})
            known = of_processor[model] = of_processor.get(model) or step_seconds(cfg)
            write_manifest(file, answers)
    fp32, bf16 = (1000 * known[precision] for precision in ("fp32", "bf16"))
    return "bf16" if bf16 < fp32 else "fp32", f"a step takes {bf16:,.0f} ms in bf16, {fp32:,.0f} ms in fp32 ({file})"


def step_seconds(cfg: TrainConfig) -> dict[str, float]:
    """Seconds of the fastest forward and backward pass of a batch in each precision, which take turns.

    The optimizer is left out: Adam takes as long in both.
    """
    with short_of_memory(lambda: "making the model: choose a smaller one"):
        model = Transformer(cfg.model, SinusoidalConfig(), cfg.data.vocab_size, PAD)
    rows = max(1, min(SLOTS, cfg.data.batch_tokens) // (2 * LENGTH))
    ids = torch.randint(PAD + 1, cfg.data.vocab_size, (rows, LENGTH))
    batch = Batch(ids, ids, ids.flatten(), torch.arange(ids.numel()))
    times: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    end = time.perf_counter() + SECONDS
    for number in range(ROUNDS + 1):
        for precision, taken in times.items():
            began = time.perf_counter()
            with computing_in(precision, ids.device):
                loss = loss_of(model, batch, cfg.optimizer.label_smoothing)
            loss.backward()
            model.zero_grad()
            if number:  # the first round compiles kernels
                taken.append(time.perf_counter() - began)
        if number and time.perf_counter() > end:
            break
    return {precision: min(taken) for precision, taken in times.items()}


def product_in_bf16() -> float:
    """How many times as long as in fp32 a small matrix product takes in bf16, each the fastest of several."""
    fastest = []
    for dtype in (torch.bfloat16, torch.float32):
        a, times = torch.randn(512, 512).to(dtype), []
        for _ in range(8):
            began = time.perf_counter()
            torch.mm(a, a)
            times.append(time.perf_counter() - began)
        fastest.append(min(times))
    return fastest[0] / fastest[1]


def _instructions() -> str:
    """What decides the speed of products beside the processor: its instructions, as torch and oneDNN may use them."""
    known = {"avx512_bf16": torch.cpu._is_avx512_bf16_supported(), "amx": torch.cpu._is_amx_tile_supported()}
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return " ".join(filter(None, [torch.backends.cpu.get_cpu_capability(), *(n for n in known if known[n]), most]))


def _read(file: Path) -> dict[str, dict[str, dict[str, float]]]:
    """The seconds of a step in each precision, by processor and model."""
    return read_manifest(file, f"remove {file.parent} to measure again") if file.is_file() else {}
