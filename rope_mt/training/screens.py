"""The first screen of a run and its last: what will be trained, and what came of it."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from rope_mt.config.commands import TrainConfig
from rope_mt.data.prepare import Prepared, report
from rope_mt.runs.folder import RunFolder
from rope_mt.system.device import choose_device, describe
from rope_mt.system.disk import size_text
from rope_mt.system.progress import clock
from rope_mt.training.callbacks.checkpoints import room
from rope_mt.training.module import TranslationModule
from rope_mt.training.processes import Processes


def introduce(
    cfg: TrainConfig,
    run: RunFolder,
    prepared: Prepared,
    module: TranslationModule,
    precision: str,
    processes: Processes,
    resume: Path | None,
    console: Console,
) -> None:
    """The first screen: what will be trained, on what, where, and how much disk it takes."""
    parameters = sum(p.numel() for p in module.parameters())
    m, t = cfg.model, cfg.trainer
    device = choose_device(t.device)
    shape = f"{m.n_layers}+{m.n_layers} layers, d_model {m.d_model}, d_ff {m.d_ff}, {m.n_heads} heads"
    share = f", seed {cfg.seed}" + (f", {processes.world} processes" if processes.world > 1 else "")
    batches = f"{t.accumulate} batches of " if t.accumulate > 1 else ""
    optimizer = "" if cfg.optimizer.name == "adam" else f", {cfg.optimizer.name}"
    read, made, *odd = report(prepared)
    lines = {
        "position": cfg.position.name,
        "model": f"{m.name}: {shape}, {m.norm}-norm; {parameters:,} parameters",
        "data": f"{cfg.data.name}: {read}; {made}",
        "training": f"{t.max_steps:,} steps of {batches}at most {cfg.data.batch_tokens:,} tokens{optimizer}{share}",
        "device": f"{describe(device)}, {precision}",
        "run": f"{run.path} (about {size_text(room(run, module)[0])})",
    }
    if resume is not None:
        lines["continues"] = str(resume)
    for name, value in lines.items():
        _line(console, name, value)
    for line in odd:
        console.print(Text(f"{'':<10}{line}", "yellow"), soft_wrap=True)


def conclude(result: dict[str, Any], run: RunFolder, console: Console) -> None:
    """The last screen: scores with their signatures, and where everything lies."""
    search = f"beam {result['search']['beam']}, length penalty {result['search']['length_penalty']}"
    trained, validated, scored = (result[f"{what}_seconds"] for what in ("training", "validation", "scoring"))
    share = 100 * validated / (trained + validated)
    took = f"trained {clock(trained)}, validated {clock(validated)} ({share:.0f} %), scored {clock(scored)}"
    _line(console, "time", took)
    if result["test_set"]:
        _line(console, "test set", result["test_set"])
    for part in ("valid", "test"):
        scores = result[part]
        _line(console, part, f"BLEU {scores['bleu']:.2f}   chrF {scores['chrf']:.2f}   ({search})")
    _line(console, "", result["test"]["bleu_detail"])
    for name, scores in result["further_tests"].items():
        said = f"BLEU {scores['bleu']:.2f}   chrF {scores['chrf']:.2f}" if scores else "longer than the model reads"
        _line(console, "", f"{name}: {said}")
    if skipped := result["skipped_updates"]:
        said = f"{skipped:,} of {result['steps']:,} updates were left out: their loss or gradient was not finite"
        console.print(Text(f"{'':<10}{said}", "yellow"), soft_wrap=True)
    for doubt in result["test"]["doubts"]:
        console.print(Text(f"{'':<10}{doubt}", "yellow"), soft_wrap=True)
    files = [run.test_hyp, run.result, run.average]
    there = ", ".join(str(file.relative_to(run.path)) for file in files if file.is_file())  # a record has no weights
    _line(console, "files", f"{run.path}: {there}")


def _line(console: Console, name: str, value: str) -> None:
    console.print(Text(f"{name:<10}", "bold"), Text(value), sep="", soft_wrap=True)
