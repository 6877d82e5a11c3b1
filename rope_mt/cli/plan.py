"""What a command line asks for: its jobs before any of them begins, and the name of the sweep that they make."""

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
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from rope_mt.cli.messages import complaint, settings, strangers, unknown
from rope_mt.cli.words import quoted
from rope_mt.config.files import conf_dir
from rope_mt.config.plain import identity
from rope_mt.errors import UserError

GROUPS = ("data", "model", "position")  # say what a sweep is about, where all its jobs share the option


@dataclass(frozen=True)
class PlannedJob:
    """A job that is to come: its words on the command line, and the command's dataclass that they make."""

    words: list[str]
    cfg: Any


@dataclass(frozen=True)
class Plan:
    words: list[str]  # those typed, and those of an experiment's sweep that the user did not give otherwise
    runs_several: bool  # whether jobs are run one after the other, or wherever a launcher takes them
    sweep_dir: str  # Hydra's
    jobs: list[PlannedJob]
    known: bool  # whether these are the jobs, or only like them, as the sweeper draws them
    first: DictConfig  # the configuration of the first job as Hydra composes it

    @property
    def job_names(self) -> list[str]:
        """Of each job the words that not all have, as `position=rope seed=2`; all its words where it is alone."""
        all_words = [job.words for job in self.jobs]
        common = set.intersection(*map(set, all_words)) if len(all_words) > 1 else set()
        names = [" ".join(word for word in dict.fromkeys(words) if word not in common) for words in all_words]
        return [name or f"job {number}" for number, name in enumerate(names, start=1)]  # a choice given twice

    @property
    def sweep_name(self) -> str:
        """`sweep.name`, or else what the jobs share, what they differ in, and a digest of what they compute.

        As in `toy-tiny-position-seed-1a2b3c4d`. The same jobs have the same name, so that a sweep that is typed again
        goes on in its folder and W&B group.
        """
        if given := self.jobs[0].cfg.sweep.name:
            return given
        options = [{getattr(job.cfg, group).name for job in self.jobs} for group in GROUPS]
        shared = [name for names in options if len(names) == 1 for name in names]
        first = [word for word in self.jobs[0].words if any(word not in job.words for job in self.jobs)]
        varied = [word.partition("=")[0].lstrip("+").replace("/", ".") for word in first]
        what = [json.dumps(identity(job.cfg), sort_keys=True) for job in self.jobs] if self.known else self.words
        digest = hashlib.sha256("\n".join(sorted(what)).encode()).hexdigest()[:8]
        return "-".join([*shared, *varied, digest])


def planned(command: str, flags: dict[str, Any], words: list[str], schema: type) -> Plan:
    """Compose every job there will be, so that a mistake in one of them ends the command before the first starts."""
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
        jobs, configurations = [], []
        for job in itertools.product(*choices):
            cfg = deepcopy(first_composed) if job == first else composed(job)
            with open_dict(cfg):
                del cfg["hydra"]
            configurations.append(cfg)
            for setting, owner in strangers(cfg):
                raise UserError(unknown(setting, owner, schema))
            if only_shown:
                continue
            if missing := sorted(OmegaConf.missing_keys(cfg), key=[*settings(schema)].index):
                hint = "name a run or a checkpoint" if missing[0] == "checkpoint" else f"add {missing[0]}=VALUE"
                raise UserError(f"{', '.join(missing)} must be given: {hint}")
            if command == "train" and cfg.overwrite and "submitit" in hydra.launcher._target_:
                raise UserError("overwrite=true would begin a job anew whenever it is requeued: remove the runs first")
            jobs.append(PlannedJob(list(job), OmegaConf.to_object(cfg)))
            if command == "train" and cfg.sweep.published and not Path(cfg.sweep.published).is_dir():
                raise UserError(f"sweep.published: there is no folder {cfg.sweep.published}")
        known = known and hydra.sweeper._target_.endswith(".BasicSweeper")
        return Plan(words, several and not only_shown, hydra.sweep.dir, jobs, known, configurations[0])
