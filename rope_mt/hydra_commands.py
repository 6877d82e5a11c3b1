"""The commands whose settings Hydra composes: train, eval, translate, prepare and bench.

Hydra's own command line stays whole (-m, --cfg, --info, --config-dir, launchers). Added here: flags may stand anywhere,
a path needs no quotes, every job is checked before the first one starts, and one that fails leaves the others alone.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_mt.command_words import path_at, quoted, split_flags
from rope_mt.config.files import conf_dir
from rope_mt.durable import CLOSED, FULL, alone, cannot_write
from rope_mt.errors import UserError
from rope_mt.imports import interruptible
from rope_mt.jobs import GROUP, Jobs, first_process

if TYPE_CHECKING:
    from rope_mt.sweep.plan import Plan
    from rope_mt.sweep.sweep import Sweep


# ---- what a job of each command does; `cfg` is the command's dataclass in rope_mt/config/commands.py ---


def train(cfg: Any, opened: Callable[[Any], None] = lambda run: None) -> float:
    from hydra.core.hydra_config import HydraConfig

    with interruptible():
        from rope_mt.training.train import train

    folder = Path(HydraConfig.get().runtime.output_dir)
    return train(cfg, None if folder == Path("outputs").absolute() else folder, opened)  # conf/train.yaml: outputs


def evaluate(cfg: Any) -> float:
    with interruptible():
        from rope_mt.evaluation import evaluate

    return evaluate(cfg)


def translate(cfg: Any) -> None:
    from rope_mt.translate_command import translate

    translate(cfg)


def prepare(cfg: Any) -> None:
    from rope_mt.data.prepare import prepare, report

    print(*report(prepare(cfg.data)), sep="\n")


def bench(cfg: Any) -> None:
    from rope_mt.bench.command import bench

    bench(cfg)


TASKS: dict[str, Callable[[Any], Any]] = {
    "train": train,
    "eval": evaluate,
    "translate": translate,
    "prepare": prepare,
    "bench": bench,
}


# The names of Hydra's plugins mean our settings of them, which Hydra does not let a file of the same name hold.
OURS = {
    "hydra/launcher=submitit_slurm": "hydra/launcher=slurm",
    "hydra/launcher=submitit_local": "hydra/launcher=local",
    "hydra/sweeper=optuna": "hydra/sweeper=optuna_bleu",
}


def run(command: str, rest: list[str]) -> int:
    """Run a command with the words that followed it; the exit code is 1 when one of several jobs failed.

    Of several processes that torchrun started only the first says what is wrong with the words.

    Raises:
        UserError: the words make no configuration; nothing was started or written.
    """
    jobs = Jobs(TASKS[command])
    try:
        return _run(command, rest, jobs)
    except UserError:
        if jobs.began or first_process():
            raise
        return 0  # an exit code other than 0 would have torchrun end the first before it speaks


def _run(command: str, rest: list[str], jobs: Jobs) -> int:
    flags, words = split_flags(rest)
    config = command
    if command == "bench":  # what to measure is a word of its own
        words = [word if "=" in word or word[:1] == "~" else f"bench={word}" for word in words]
        words.sort(key=lambda word: word.startswith("bench="))  # last: of wrong groups the first is complained about
        named = [word.partition("=")[2] for word in words if word.startswith("bench=")]
        if "--help" in flags and not named:
            print(_bench_help())
            return 0
        if "--hydra-help" not in flags:
            config = f"bench/{_subject(named)}"
    schema = command_schema(config)
    if (at := path_at(words, schema)) is not None:
        more = [word for word in words[at + 1 :] if "=" not in word and word[:1] not in ("~", "+")]
        if runs := [word for word in more if os.path.exists(word)]:
            raise UserError(f"{command} takes one run, not {1 + len(runs)}: name {words[at]} or another alone")
        if more and command == "translate":
            raise UserError("text comes from standard input, as in: echo TEXT | rope-mt translate RUN")
        words[at] = f"checkpoint={quoted(words[at])}"
    words = [OURS.get(word, word) for word in words]
    own = groups(config)  # +experiment=x is a habit from elsewhere: here the group is always there, at first empty
    words = [word[1:] if word[:1] == "+" and word[1:].partition("=")[0] in own else word for word in words]

    from rope_mt.complaints import HYDRA_ERRORS, complaint

    plan = None
    try:
        if not {"--hydra-help", "--shell-completion", "--config-path", "--config-name"} & {*flags}:
            plan = check(command, flags, words, schema)
        if command == "train" and plan is not None and plan.runs_several:
            return _sweep(plan, flags, rest, jobs)
        said = io.StringIO()
        with contextlib.redirect_stdout(said) if "--help" in flags else contextlib.nullcontext():
            code = call_hydra(command, flags, words, jobs)
    except HYDRA_ERRORS as error:
        raise UserError(complaint(error, words, schema)) from error
    except OSError as error:  # of a folder that Hydra makes, not of a job
        if error.filename is None or error.errno not in (*FULL, *CLOSED, errno.EEXIST, errno.ENOTDIR):
            raise
        raise cannot_write(Path(error.filename), error) from error
    if text := said.getvalue():  # Hydra's help lists the groups of all commands
        foreign = "|".join(foreign_groups(config))
        print(re.sub(rf"(?m)^(?:{foreign})(?:/[\w-]+)?: .+\n", "", text), end="")
    if jobs.failures and not jobs.several:
        raise jobs.failures[0]
    return 1 if jobs.failures else code


def _sweep(plan: Plan, flags: dict[str, Any], rest: list[str], jobs: Jobs) -> int:
    """Train every job, show how they stand, and compare them in the end; 1 when one of them is not done."""
    from rope_mt.sweep.sweep import Sweep

    name = plan.sweep_name
    folder = Path(plan.sweep_dir).absolute() / "sweeps" / name
    command = " ".join(["rope-mt train", *map(shlex.quote, rest)])
    jobs.sweep = sweep = Sweep(name, folder, plan.job_names if plan.known else None, command, plan.words)
    words = plan.words
    if plan.jobs[0].cfg.tracking.group is None:
        words = [*words, f"{GROUP}{quoted(name)}"]
    if not first_process():
        return call_hydra("train", flags, words, jobs)
    with alone(folder / ".lock", f"at the sweep {folder}"):
        return _watch(sweep, flags, words, jobs)


def _watch(sweep: Sweep, flags: dict[str, Any], words: list[str], jobs: Jobs) -> int:
    from rope_mt.complaints import HYDRA_ERRORS
    from rope_mt.sweep.overview import watched
    from rope_mt.sweep.sweep import begin, conclude

    begin(sweep)
    with watched(sweep.ledger, len(sweep.jobs) if sweep.jobs else None) as overview:
        jobs.tell = overview.tell
        broken = False
        try:
            call_hydra("train", flags, words, jobs)
        except (UserError, OSError, *HYDRA_ERRORS):
            raise
        except Exception as error:  # of a launcher or sweeper that was plugged in: some jobs may be done
            broken = True
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                traceback.print_exception(error)
            print(f"rope-mt: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
    return 0 if conclude(sweep, overview) and not broken else 1


def call_hydra(command: str, flags: dict[str, Any], words: list[str], task: Callable[[Any], Any] = print) -> int:
    """Hand the words to Hydra's own main and return its exit code; what is wrong with them is raised, not printed."""
    import hydra

    argv, wish = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    given = [name if value is True else f"{name}={value}" for name, value in flags.items()]
    try:
        sys.argv = [argv[0], *given, *words]
        logging.raiseExceptions = "--info" not in flags  # what --info logs may be piped into head
        os.environ["HYDRA_FULL_ERROR"] = "1"  # without it Hydra prints the error and advice about itself, and exits
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(task)()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv, logging.raiseExceptions = argv, True
        if wish is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = wish
    return 0


def check(command: str, flags: dict[str, Any], words: list[str], schema: type) -> Plan:
    """Compose every job there will be, so that a mistake in one of them ends the command before the first starts."""
    from copy import deepcopy

    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode
    from omegaconf import OmegaConf, open_dict

    from rope_mt.complaints import complaint, settings, strangers, unknown
    from rope_mt.sweep.plan import Plan, PlannedJob

    keys = {word.lstrip("+~").partition("=")[0] for word in words}
    extra = []
    if folder := flags.get("--config-dir"):
        if not Path(folder).is_dir():
            raise UserError(f"--config-dir: there is no folder {folder}")
        extra = [f"hydra.searchpath=[{quoted(f'file://{Path(folder).absolute()}')}]"]
    only_shown = bool({"--cfg", "--help", "--info"} & {*flags})

    def composed(job: Sequence[str]) -> Any:
        try:
            return compose(command, [*job, *extra], return_hydra_config=True)
        except ValueError as error:
            raise UserError(complaint(error, list(job), schema)) from error
        except RecursionError as error:
            raise UserError("a file of the configuration is nested too deeply") from error

    def choices_of(words: list[str]) -> tuple[list[list[str]], bool]:
        """What each word can become, and whether that is all: an interval is for a sweeper to draw from."""
        overrides = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(words)
        found = []
        for override in overrides:
            if getattr(override.value(), "shuffle", False):  # Hydra would draw an order of its own
                raise UserError(f"{override.input_line}: jobs are not shuffled here, write the choices alone")
            if not override.is_sweep_override():
                found.append([override.input_line])
            elif override.is_discrete_sweep():
                found.append([f"{override.get_key_element()}={v}" for v in override.sweep_string_iterator()])
                if not found[-1]:
                    raise UserError(f"{override.input_line} selects nothing")
        return found, len(found) == len(overrides)

    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        choices, known = choices_of(words)
        first = tuple(options[0] for options in choices)
        first_composed = composed(first)  # which takes longer than all else here
        hydra = first_composed.hydra
        several = "--multirun" in flags or hydra.mode == RunMode.MULTIRUN
        if several and "hydra.sweep.dir" in keys and "hydra.sweep.subdir" not in keys:
            raise UserError("hydra.sweep.dir needs hydra.sweep.subdir beside it, or all runs would share one folder")
        if several and "hydra.run.dir" in keys:
            raise UserError("hydra.run.dir is for one run: for several take hydra.sweep.dir and hydra.sweep.subdir")
        if not several and (of_sweeps := keys & {"sweep.name", "sweep.fail_fast"}):
            raise UserError(f"{min(of_sweeps)} is for several runs: add -m")
        for plugin, own in (("launcher", "BasicLauncher"), ("sweeper", "BasicSweeper")):
            if not (several or only_shown or hydra[plugin]._target_.endswith(f".{own}")):
                raise UserError(f"hydra/{plugin} is for several runs: add -m")
        if several and (params := hydra.sweeper.get("params")):  # Hydra would go through both lists of choices
            kept = [f"{key}={value}" for key, value in params.items() if key not in keys]
            words = [*kept, *words, "hydra.sweeper.params=null"]
            choices, known = choices_of(words)
        planned = []
        for job in itertools.product(*choices):
            cfg = deepcopy(first_composed) if job == first else composed(job)
            with open_dict(cfg):
                del cfg["hydra"]
            for setting, owner in strangers(cfg):
                raise UserError(unknown(setting, owner, schema))
            if only_shown:
                continue
            if missing := sorted(OmegaConf.missing_keys(cfg), key=[*settings(schema)].index):
                hint = "name a run or a checkpoint" if missing[0] == "checkpoint" else f"add {missing[0]}=VALUE"
                raise UserError(f"{', '.join(missing)} must be given: {hint}")
            if command == "train" and cfg.overwrite and "submitit" in hydra.launcher._target_:
                raise UserError("overwrite=true would begin a job anew whenever it is requeued: remove the runs first")
            planned.append(PlannedJob(list(job), OmegaConf.to_object(cfg)))
            if command == "train" and cfg.sweep.published and not Path(cfg.sweep.published).is_dir():
                raise UserError(f"sweep.published: there is no folder {cfg.sweep.published}")
        known = known and hydra.sweeper._target_.endswith(".BasicSweeper")
        return Plan(words, several and not only_shown, hydra.sweep.dir, planned, known)


def command_schema(command: str) -> type:
    """The dataclass that a command's settings are checked against; tells Hydra all of them on the way.

    Here and below `bench/SUBJECT` is a command too, and `bench` alone has what all subjects have.
    """
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from rope_mt.config.commands import register

    register()
    schema = OmegaConf.get_type(ConfigStore.instance().load(f"schema/{command}.yaml").node)
    assert schema is not None
    return schema


def groups(command: str) -> set[str]:
    """The groups that a command chooses from: those of its defaults list, and of its subject's or every subject's."""
    from omegaconf import OmegaConf

    root, _, subject = command.partition("/")
    files = [conf_dir() / f"{root}.yaml", *(conf_dir() / root).glob(f"{subject or '*'}.yaml")]
    defaults = [entry for file in files for entry in OmegaConf.load(file).defaults]
    return {group.lstrip("/") for entry in defaults if OmegaConf.is_dict(entry) for group in entry}


def foreign_groups(command: str) -> set[str]:
    """The groups of conf/ that only other commands choose from."""
    return {"schema", *(folder.name for folder in conf_dir().iterdir() if folder.is_dir())} - groups(command)


def subjects() -> dict[str, str]:
    """What `bench` can measure: each file of conf/bench/, and the comment in its second line."""
    files = sorted((conf_dir() / "bench").glob("*.yaml"))
    return {file.stem: file.read_text(encoding="utf-8").splitlines()[1].lstrip("# ") for file in files}


def _subject(named: list[str]) -> str:
    """The one subject that was named.

    Raises:
        UserError: it is none, or there is no such subject.
    """
    from rope_mt.complaints import did_you_mean

    there = subjects()
    example = f"as in rope-mt bench {next(iter(there))}"
    if len(named) != 1:
        raise UserError(f"one thing to measure must be given: {' or '.join(there)}, {example}")
    if named[0] not in there:
        hint = did_you_mean(named[0], there, "rope-mt bench {}")
        raise UserError(f"bench cannot measure {named[0]!r}, only {' or '.join(there)}{hint or f', {example}'}")
    return named[0]


def _bench_help() -> str:
    lines = ["rope-mt bench SUBJECT measures speed, memory and waste:", ""]
    lines += [f"  {name:<10}{does}" for name, does in subjects().items()]
    return "\n".join([*lines, "", "Every setting: rope-mt bench SUBJECT --help"])
