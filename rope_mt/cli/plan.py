"""The jobs of a command line, composed before the first one begins, and the name of the sweep that they make."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from rope_mt.cli.grammar import quoted
from rope_mt.cli.messages import complaint, settings
from rope_mt.config.files import conf_dir, read_yaml
from rope_mt.config.plain import identity
from rope_mt.errors import UserError
from rope_mt.runs.folder import refuse_no_run
from rope_mt.system import surroundings

OF_SWEEPS = {"sweep.name", "sweep.fail_fast", "sweep.tune", "hydra.sweep.dir", "hydra.sweep.subdir"}
NO_CHOICES = "hydra.sweeper.params=null"  # the word that keeps Hydra from adding an experiment's choices to ours
GROUPS = ("data", "model", "position")  # the name of a sweep begins with those options that all its jobs share


@dataclass(frozen=True)
class Plan:
    words: list[str]  # the typed words, and the choices of an experiment that the user did not replace
    several: bool  # the command runs several jobs, one after the other or where a launcher takes them
    sweep_dir: str  # Hydra's
    job_words: list[Sequence[str]]  # the words of each job
    configs: list[Any]  # the command's dataclass for each job; empty if the configuration is only shown
    drawn: bool  # a sweeper draws values while it runs, and the jobs here are examples
    first: DictConfig  # the configuration of the first job as Hydra composes it
    folders: list[Path | None]  # the run folder of each job of train that the user has chosen; None: none was

    @property
    def job_names(self) -> list[str]:
        """The words in which a job differs from others, as `position=rope seed=2`; all words of a job that is alone."""
        common = set.intersection(*map(set, self.job_words)) if len(self.job_words) > 1 else set()
        common.add(NO_CHOICES)
        names = [" ".join(word for word in dict.fromkeys(words) if word not in common) for words in self.job_words]
        return [name or f"job {number}" for number, name in enumerate(names, start=1)]  # no name: a choice given twice

    @property
    def sweep_name(self) -> str:
        """`sweep.name`, or a name such as `toy-tiny-position-seed-1a2b3c4d`.

        It has the options that all jobs share, the settings in which they differ, and a digest of what they compute.
        The same jobs have the same name, so a sweep that is typed again continues in its folder and its W&B group.
        """
        if name := self.configs[0].sweep.name:
            return name
        options = [{getattr(cfg, group).name for cfg in self.configs} for group in GROUPS]
        shared = [name for names in options if len(names) == 1 for name in names]
        differing = [word for word in self.job_words[0] if any(word not in words for words in self.job_words)]
        varied = [word.partition("=")[0].lstrip("+").replace("/", ".") for word in differing]
        content = self.words if self.drawn else [json.dumps(computed(cfg), sort_keys=True) for cfg in self.configs]
        digest = hashlib.sha256("\n".join(sorted(content)).encode()).hexdigest()[:8]
        return "-".join([*shared, *varied, digest])


def computed(cfg: Any) -> list[Any]:
    """What the key of a run is made of, with the names of texts for their content."""
    data, trainer = cfg.data, cfg.trainer
    text = [data.train, data.valid, data.test, data.held_out, data.columns, data.further_tests]
    return [identity(cfg), text, trainer.epochs, trainer.devices, trainer.machines]


def planned(command: str, flags: dict[str, Any], words: list[str], schema: type) -> Plan:
    """Compose every job, so that a mistake in one of them ends the command before the first job begins.

    Raises:
        UserError: a word is wrong, a setting is missing or unknown, or settings contradict each other.
    """
    extra = []
    if folder := flags.get("--config-dir"):
        if not Path(folder).is_dir():
            raise UserError(f"--config-dir: there is no folder {folder}")
        extra = [f"hydra.searchpath=[{quoted(f'file://{Path(folder).absolute()}')}]"]
    only_shown = bool({"--cfg", "--help", "--info"} & {*flags})
    keys = {word.lstrip("+~").partition("=")[0] for word in words}

    def composed(job: Sequence[str]) -> Any:
        try:
            return compose(command, [*job, *extra], return_hydra_config=True)
        except ValueError as error:
            raise UserError(complaint(error, list(job), schema)) from error
        except RecursionError as error:
            raise UserError("a file of the configuration is nested too deeply") from error

    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        choices, drawn = choices_of(words)
        first_words = tuple(options[0] for options in choices)
        first = composed(first_words)  # the slowest step here, so it is done once
        hydra = first.hydra
        for options in choices:
            if len(options) > 1 and options[0].startswith("experiment="):
                others = (
                    composed([option if word is options[0] else word for word in first_words]) for option in options
                )
                if any(other.hydra.sweeper != hydra.sweeper or other.hydra.mode != hydra.mode for other in others):
                    raise UserError(f"{' and '.join(options)} do not run the same jobs: start them one by one")
        several = "--multirun" in flags or hydra.mode == RunMode.MULTIRUN
        for word in () if several else (each.input_line for each in parsed(words) if each.is_sweep_override()):
            raise UserError(f"{word} means several runs: add -m to do them all, or write KEY=[A,B] for a list")
        refuse_misplaced(keys, hydra, several, only_shown)
        if several and (params := hydra.sweeper.get("params")):  # Hydra would run through both lists of choices
            kept = [f"{key.lstrip('+')}={value}" for key, value in params.items() if key not in keys]
            words = [*kept, *words, NO_CHOICES]
            choices, drawn = choices_of(words)
        if drawn and hydra.sweeper._target_.endswith(".BasicSweeper"):
            intervals = [str(each.input_line) for each in parsed(words) if each.is_sweep_override()]
            raise UserError(f"{' '.join(intervals)}: values are drawn by another sweeper: add hydra/sweeper=optuna")
        jobs = [*itertools.product(*choices)]
        composed_jobs = [deepcopy(first) if job == first_words else composed(job) for job in jobs]
        folders = []
        for number, cfg in enumerate(composed_jobs):
            with open_dict(cfg):
                cfg.hydra.job.num = number
                folders.append(chosen_folder(cfg.hydra, several) if command == "train" else None)
                del cfg["hydra"]
        configs = [] if only_shown else [checked(command, cfg, hydra, schema) for cfg in composed_jobs]
        drawn = drawn or not hydra.sweeper._target_.endswith(".BasicSweeper")
        several = several and not only_shown
        return Plan(words, several, hydra.sweep.dir, [*jobs], configs, drawn, composed_jobs[0], folders)


def chosen_folder(hydra: Any, several: bool) -> Path | None:
    """The run folder that Hydra's settings name; None where they are those of conf/train.yaml."""
    folder = Path(hydra.sweep.dir, hydra.sweep.subdir) if several else Path(hydra.run.dir)
    return None if folder == Path("outputs") else folder


def parsed(words: list[str]) -> list[Override]:
    return OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(words)


def choices_of(words: list[str]) -> tuple[list[list[str]], bool]:
    """The words that each word stands for, and whether one is an interval, from which a sweeper draws values."""
    choices, drawn = [], False
    for override in parsed(words):
        if getattr(override.value(), "shuffle", False):  # Hydra would draw an order of its own
            raise UserError(f"{override.input_line}: jobs are not shuffled here, write the choices alone")
        if not override.is_sweep_override():
            choices.append([override.input_line])
        elif override.is_discrete_sweep():
            choices.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
            if not choices[-1]:
                raise UserError(f"{override.input_line} selects nothing")
        else:
            drawn = True
    return choices, drawn


def refuse_misplaced(keys: set[str], hydra: Any, several: bool, only_shown: bool) -> None:
    """Refuse settings for several runs where there is one, and the other way round."""
    if several and "hydra.sweep.dir" in keys and "hydra.sweep.subdir" not in keys:
        raise UserError("hydra.sweep.dir needs hydra.sweep.subdir beside it, or all runs would share one folder")
    if several and "hydra.run.dir" in keys:
        raise UserError("hydra.run.dir is for one run: for several take hydra.sweep.dir and hydra.sweep.subdir")
    of_sweeps = sorted(keys & OF_SWEEPS)
    for plugin, own in (("launcher", ".BasicLauncher"), ("sweeper", ".BasicSweeper")):
        if not (only_shown or hydra[plugin]._target_.endswith(own)):
            of_sweeps.append(f"hydra/{plugin}")
    if of_sweeps and not several:
        raise UserError(f"{of_sweeps[0]} is for several runs: add -m")


def checked(command: str, cfg: DictConfig, hydra: Any, schema: type) -> Any:
    """The command's dataclass of one job, after the checks that need the whole configuration."""
    from rope_mt.data import own  # which imports numpy

    known, lacking = settings(schema), set(OmegaConf.missing_keys(cfg))
    if of_items := sorted(lacking.difference(known)):
        raise UserError(f"{', '.join(of_items)} must be given")
    if missing := [name for name in known if name in lacking]:
        hints = {"checkpoint": "name a run or a checkpoint", "data.train": f"write data.train={own.FORMS}"}
        hint = hints.get(missing[0], f"add {missing[0]}=VALUE")
        raise UserError(f"{', '.join(missing)} must be given: {hint}")
    if command == "train" and cfg.overwrite and "submitit" in hydra.launcher._target_:
        raise UserError("overwrite=true would begin a job anew whenever it is requeued: remove the runs first")
    made: Any = OmegaConf.to_object(cfg)
    if command in ("train", "prepare"):
        own.require_text(made.data)
    device = "trainer.device" if command == "train" else "device"
    if "Basic" in hydra.launcher._target_:  # other launchers run the job on other machines
        surroundings.refuse_device(OmegaConf.select(cfg, device) or "auto", device)
    if hasattr(made, "checkpoint"):  # asked here, since its command takes seconds to import
        refuse_no_run(Path(made.checkpoint))
    if command == "train" and cfg.sweep.tune:
        _check_tuning(cfg.sweep)
    if command == "train" and cfg.sweep.published and not Path(cfg.sweep.published).is_dir():
        raise UserError(f"sweep.published: there is no folder {cfg.sweep.published}")
    return made


def _check_tuning(sweep: Any) -> None:
    """Refuse, before any job begins, what would fail when all have ended."""
    file = Path(sweep.tuned)
    if sweep.published:
        raise UserError("sweep.tune needs the weights of runs, which records lack: set sweep.published=null")
    if file.is_dir():
        raise UserError(f"sweep.tuned must be a file, and {file} is a folder")
    if file.is_file():
        read_yaml(file)
