"""The commands whose settings Hydra composes: train, eval, translate, prepare and bench.

Hydra's own command line stays whole (-m, --cfg, --info, --config-dir, launchers). Added here: flags may stand anywhere,
a path needs no quotes, every job is checked before the first one starts, and one that fails leaves the others alone.
"""

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig

from rope_mt.cli.commands import COMMANDS
from rope_mt.cli.grammar import quoted
from rope_mt.cli.help import bench_help, command_help
from rope_mt.cli.jobs import GROUP, Jobs
from rope_mt.cli.messages import HYDRA_ERRORS, complaint
from rope_mt.cli.plan import Plan, planned
from rope_mt.cli.words import read_words
from rope_mt.config.files import conf_dir
from rope_mt.errors import UserError
from rope_mt.system.disk import CLOSED, FULL, cannot_write
from rope_mt.system.locks import alone


def do_job(command: str, cfg: Any, opened: Callable[[Any, int], None] = lambda run, steps: None) -> Any:
    """Do one job of a command; `cfg` is the command's dataclass in rope_mt/config/commands.py."""
    function = COMMANDS[command].load()
    if command != "train":
        return function(cfg)
    folder = Path(HydraConfig.get().runtime.output_dir)
    chosen = folder != Path("outputs").absolute()  # which is what conf/train.yaml says
    words = [word for word in HydraConfig.get().overrides.task if not word.startswith(GROUP)]
    if chosen:
        words.append(f"hydra.run.dir={quoted(os.path.relpath(folder))}")
    more = [source.path for source in HydraConfig.get().runtime.config_sources if source.provider == "command-line"]
    words += [f"--config-dir={path}" for path in more]
    return function(cfg, folder if chosen else None, shlex.join(["rope-mt", "train", *words]), opened)


def run(command: str, rest: list[str]) -> int:
    """Run a command with the words that followed it; the exit code is 1 when one of several jobs failed.

    Raises:
        UserError: the words make no configuration; nothing was started or written.
    """
    jobs = Jobs(partial(do_job, command))
    flags, words, config, schema = read_words(command, rest)
    if config == "bench" and "--help" in flags:
        print(bench_help())
        return 0
    try:
        if "--hydra-help" not in flags:
            plan = planned(command, flags, words, schema)
            if "--help" in flags:
                print(command_help(config, plan.first, flags.get("--config-dir")))
                return 0
            if {"--cfg", "--info"} & {*flags} and len(plan.job_words) > 1:
                words = [*plan.job_words[0]]  # Hydra shows one job
            if plan.configs:
                COMMANDS[command].load()  # now, since Ctrl-C meanwhile must find nothing begun
                _check_jobs(plan)
            if "--dry-run" in flags:
                return _dry_run(plan)
            if command == "train" and plan.several:
                return _sweep(plan, flags, rest, jobs)
        code = call_hydra(command, flags, words, jobs)
    except HYDRA_ERRORS as error:
        raise UserError(complaint(error, words, schema)) from error
    except OSError as error:  # of a folder that Hydra makes, not of a job
        refusals = (*FULL, *CLOSED, errno.EEXIST, errno.ENOTDIR, errno.ELOOP)
        if error.filename is None or error.errno not in refusals:
            raise
        raise cannot_write(Path(error.filename), error) from error
    if jobs.failures and not jobs.several:
        raise jobs.failures[0]
    return 1 if jobs.failures else code


def run_one(overrides: list[str]) -> Path:
    """Train one model from Python; return its run folder.

    Raises:
        UserError: the words make no configuration or several, or training is not possible.
    """
    from rope_mt.training.train import train

    flags, words, _, schema = read_words("train", overrides)
    try:
        plan = planned("train", flags, words, schema)
    except HYDRA_ERRORS as error:
        raise UserError(complaint(error, words, schema)) from error
    if flags or plan.drawn or len(plan.configs) != 1:
        raise UserError("rope_mt.train takes the settings of one run, and no flags")
    _check_jobs(plan)
    folders: list[Path] = []
    command = shlex.join(["rope-mt", "train", *overrides])
    train(plan.configs[0], plan.folders[0], command, opened=lambda run, _: folders.append(run.path))
    return folders[0]


def _dry_run(plan: Plan) -> int:
    """Say what each job would train."""
    from rope_mt.training.dry_run import dry_run

    if plan.drawn:
        raise UserError("--dry-run does not know the jobs of a sweeper that draws them while it runs")
    for number, (cfg, folder) in enumerate(zip(plan.configs, plan.folders, strict=True)):
        if number:
            print()
        dry_run(cfg, folder)
    return 0


def _check_jobs(plan: Plan) -> None:
    """Refuse a job that lacks a package, or whose model cannot be built, before any job starts.

    Done here since the schemes need torch.
    """
    from rope_mt.position import refuse_linear_attention
    from rope_mt.runs.local_logs import refuse_missing

    for cfg in plan.configs:
        if hasattr(cfg, "tracking"):
            refuse_missing(cfg.tracking.name)
        if hasattr(cfg, "position") and hasattr(cfg, "model"):  # eval changes the position of a model that is built
            refuse_linear_attention(cfg.position, cfg.model)


def _sweep(plan: Plan, flags: dict[str, Any], rest: list[str], jobs: Jobs) -> int:
    """Train every job, show their states, and compare them at the end; 1 when a job is not done."""
    from rope_mt.sweep.ledger import Ledger
    from rope_mt.sweep.overview import watched
    from rope_mt.sweep.sweep import conclude

    if any(cfg.trainer.machines > 1 for cfg in plan.configs):
        raise UserError("a sweep trains on this machine alone: with trainer.machines train each run without -m")
    name = plan.sweep_name
    ledger = Ledger(Path(plan.sweep_dir).absolute() / "sweeps" / name)
    command = " ".join(["rope-mt train", *map(shlex.quote, rest)])
    of_sweep = plan.configs[0].sweep
    tuned = Path(of_sweep.tuned) if of_sweep.tune else None
    jobs.ledger, jobs.words = ledger, plan.words
    words = plan.words
    if plan.configs[0].tracking.group is None and not os.environ.get("WANDB_RUN_GROUP"):
        words = [*words, f"{GROUP}{quoted(name)}"]
    broken = False
    with alone(ledger.folder / ".lock", f"at the sweep {ledger.folder}"):
        ledger.start([] if plan.drawn else plan.job_names)
        with watched(ledger) as overview:
            jobs.tell = overview.tell
            try:
                call_hydra("train", flags, words, jobs)
            except (UserError, OSError, *HYDRA_ERRORS):
                raise
            except Exception as error:  # of a plugin, which is a launcher or sweeper: some jobs may be done
                broken = True
                if os.environ.get("HYDRA_FULL_ERROR") == "1":
                    traceback.print_exception(error)
                print(f"rope-mt: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 0 if conclude(overview, command, tuned) and not broken else 1


def call_hydra(command: str, flags: dict[str, Any], words: list[str], task: Callable[[Any], Any] = print) -> int:
    """Hand the words to Hydra's own main and return its exit code; what is wrong with them is raised, not printed."""
    argv, wish = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    given = [name if value is True else f"{name}={value}" for name, value in flags.items()]
    try:
        # a run names its own folder, and paths are those of where the command was typed
        sys.argv = [argv[0], *given, *words, "hydra.job.chdir=false"]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # without it Hydra prints the error and advice about itself, and exits
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(task)()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = argv
        if wish is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = wish
    return 0
