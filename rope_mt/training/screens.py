"""The first screen of a run and its last: what will be trained, and what came of it."""

from typing import Any

from rich.text import Text

from rope_mt.config.commands import TrainConfig
from rope_mt.data.prepare import Prepared, report
from rope_mt.runs import code
from rope_mt.runs.checkpoint import latest
from rope_mt.runs.folder import AGAIN, RunFolder
from rope_mt.runs.result import read_result
from rope_mt.system.device import choose_device, describe
from rope_mt.system.disk import size_text
from rope_mt.system.progress import clock, output
from rope_mt.training.checks import Checked


def introduce(
    cfg: TrainConfig,
    run: RunFolder,
    about: dict[str, Any],
    prepared: Prepared,
    checked: Checked,
    chosen: dict[str, str],
    of_precision: str,
    of_lengths: list[str],
) -> None:
    """The first screen: what will be trained, on what, where, and how much disk it takes.

    Args:
        chosen: lines on what the configuration left to the text, by what they begin with.
        of_precision: why it was chosen, or a warning; "" is not shown.
        of_lengths: lines on runs that differ in their length alone.
    """
    read, made, *warnings = report(prepared)
    lines = settings_of(cfg, checked.parameters, about["processes"], f"{cfg.data.name}: {read}; {made}") | chosen
    lines["device"] += f", {about['precision']}"
    if of_precision:
        lines["precision"] = of_precision
    lines["run"] = f"{run.path} (about {size_text(checked.bytes)})"
    if (resumed := latest(run)) is not None:
        lines["continues"] = str(resumed)
    show(lines)
    if changed := about["changed_code"]:
        warnings.append(f"it began with other code: {code.listed(changed)}; to use this code alone, {AGAIN}")
    for warning in [*warnings, *checked.warnings, *of_lengths]:
        _warning(warning)


def settings_of(cfg: TrainConfig, parameters: int, processes: int, data: str) -> dict[str, str]:
    """The lines on scheme, model, data, training and device, by what they begin with."""
    m, t = cfg.model, cfg.trainer
    shape = f"{m.n_layers}+{m.n_layers} layers, d_model {m.d_model}, d_ff {m.d_ff}, {m.n_heads} heads"
    seed = f", seed {cfg.seed}" + (f", {processes} processes" if processes > 1 else "")
    steps = f"{t.max_steps:,} steps" + (f" ({t.epochs:g} epochs)" if t.epochs else "")
    batches = f"{t.accumulate} batches of " if t.accumulate > 1 else ""
    optimizer = "" if cfg.optimizer.name == "adam" else f", {cfg.optimizer.name}"
    return {
        "position": cfg.position.name,
        "model": f"{m.name}: {shape}, {m.norm}-norm; {parameters:,} parameters",
        "data": data,
        "training": f"{steps} of {batches}at most {cfg.data.batch_tokens:,} tokens{optimizer}{seed}",
        "device": describe(choose_device(t.device)),
    }


def show(lines: dict[str, str]) -> None:
    """Print lines, each with its name in front."""
    for name, value in lines.items():
        _line(name, value)


def say_reused(run: RunFolder, state: str) -> None:
    """Say of a run that has a result when it was made, and whether with this code."""
    result = read_result(run)
    made_by = f"code {code.name_of(result['code'])}" if "code" in result else f"commit {str(result['commit'])[:8]}"
    on = f"on {result['finished'][:10]} " if "finished" in result else ""
    remedy = "; overwrite=true would start again" if state == "finished" else ""
    output().print(Text(f"{run.path} is {state}: made {on}by {made_by}{remedy}."), soft_wrap=True)
    changed = {*result.get("changed_code", []), *code.differing(result.get("code", {}), code.checksums())}
    if "code" not in result:
        _warning("its code was not recorded and may differ from this code")
    elif changed:
        _warning(f"it was made with other code: {code.listed(sorted(changed))}")


def how_to_train(cfg: TrainConfig, run: RunFolder, about: dict[str, Any]) -> None:
    """The command that trains a run on several machines, and what to do when it has ended."""
    machines = cfg.trainer.machines
    torchrun = f"torchrun --nnodes {machines} --nproc-per-node {about['processes'] // machines}"
    rendezvous = "--rdzv-backend c10d --rdzv-endpoint HOST:29400"
    console = output()
    console.print(Text(f"\nOn each of the {machines} machines, where HOST is the name of one of them:"), soft_wrap=True)
    console.print(Text(f"  {torchrun} {rendezvous} -m rope_mt.training.fit {run.path.absolute()}"), soft_wrap=True)
    console.print(Text("When it has ended, type the same rope-mt command again: it scores the run."), soft_wrap=True)


def conclude(result: dict[str, Any], run: RunFolder) -> None:
    """The last screen: scores with their signatures, and where everything lies."""
    search = f"beam {result['search']['beam']}, length penalty {result['search']['length_penalty']}"
    if "weights" in result:  # of old records they are not known
        search = f"{result['weights']}; {search}"
    if result["search"].get("sentences"):
        search += f", first {result['search']['sentences']:,} sentences"
    trained, validated, scored = (result[f"{what}_seconds"] for what in ("training", "validation", "scoring"))
    percent = 100 * validated / (trained + validated)
    times = f"trained {clock(trained)}, validated {clock(validated)} ({percent:.0f} %), scored {clock(scored)}"
    _line("time", times)
    if result.get("ended_early"):
        _line("ended", f"after {result['steps']:,} steps, as the validation loss had ceased to fall")
    if result["test_set"]:
        _line("test set", result["test_set"])
    for part in ("valid", "test"):
        _line(part, f"{_values(result[part])}   ({search})")
    _line("", result["test"]["bleu_detail"])
    for name, scores in result["further_tests"].items():
        _line("", f"{name}: {_values(scores) if scores else 'longer than the model reads'}")
    if result["valid"]["loss"] is None:
        _warning("the validation loss is not finite: training has diverged, lower optimizer.lr")
    if skipped := result["skipped_updates"]:
        _warning(f"{skipped:,} of {result['steps']:,} updates were skipped: their loss or gradient was not finite")
    for warning in result["test"]["doubts"]:
        _warning(warning)
    paths = [path for path in (run.test_hyp, run.result, run.average) if path.exists()]  # a record has no weights
    _line("files", f"{run.path}: {', '.join(str(path.relative_to(run.path)) for path in paths)}")


def _values(scores: dict[str, Any]) -> str:
    known = scores.get("loss") is not None  # it is not in old records, and null where training diverged
    loss = f"loss {scores['loss']:.3f}   " if known else ""
    return f"{loss}BLEU {scores['bleu']:.2f}   chrF {scores['chrf']:.2f}"


def _line(name: str, value: str) -> None:
    output().print(Text(f"{name:<10}", "bold"), Text(value), sep="", soft_wrap=True)


def _warning(text: str) -> None:
    output().print(Text(f"{'':<10}{text}", "yellow"), soft_wrap=True)
