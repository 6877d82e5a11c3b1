"""The commands that make the runs of a comparison again, compare them, and check a score by sacreBLEU's own command."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from rope_mt.cli.messages import HYDRA_ERRORS
from rope_mt.config.commands import TrainConfig, register
from rope_mt.config.files import conf_dir
from rope_mt.config.plain import from_plain, identity
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.compare.groups import Group, choose_baseline
from rope_mt.study.finished_runs import FinishedRun, flat

PLAIN = re.compile(r"[\w/.:@%+-]+")  # text that Hydra and the shell read as it is
FILES = ("train", "valid", "test", "further_tests")


def train_commands(groups: Sequence[Group]) -> tuple[list[str], list[str]]:
    """`rope-mt train` with the settings of each group, one command for those that differ in the scheme alone.

    Each was composed and compared with the settings of the run.

    Returns:
        The commands, and a line for each group that has none.
    """
    schemes: dict[tuple[tuple[str, ...], tuple[int, ...], int], list[str]] = {}
    without = []
    register()
    mixed = len({run.result["precision"] for group in groups for run in group.runs}) > 1
    for group in groups:
        try:
            cfg = from_plain(group.runs[0].config)
            words = _settings(cfg)
        except (*HYDRA_ERRORS, UserError) as error:
            said = f"{group.label}: no command, since this version cannot compose its settings: {error}"
            without.append(said.splitlines()[0])
            continue
        processes = int(group.runs[0].result["processes"])
        parts: dict[str, list[int]] = {}  # seeds by precision, which auto makes another one on another machine
        for run in group.runs:
            parts.setdefault(str(run.result["precision"]), []).append(run.seed)
        for precision, of_precision in parts.items():
            asked = [f"trainer.precision={precision}"] if mixed and cfg.trainer.precision == "auto" else []
            key = (tuple(words + asked), tuple(of_precision), processes)
            schemes.setdefault(key, []).append(cfg.position.name)
    lines = []
    for (words, seeds, processes), positions in schemes.items():
        several = len(positions) > 1 or len(seeds) > 1
        choices = [f"position={','.join(positions)}", f"seed={','.join(map(str, seeds))}"]
        program = ["rope-mt"]
        if processes > 1:
            program = ["torchrun", "--nproc-per-node", str(processes), "-m", "rope_mt"]
        lines.append(shlex.join([*program, "train", *(["-m"] if several else []), *choices, *words]))
    return lines, without


def compare_command(comparison: Comparison, path: Path) -> str:
    groups, baseline = comparison.groups, comparison.baseline
    flags = []
    if baseline is None and len(groups) > 1:
        flags.append("--runs")
    elif baseline is not None and baseline is not choose_baseline(groups, None):
        flags += ["--baseline", baseline.label]
    if bounds := [str(bucket.high) for bucket in comparison.buckets[:-1]]:
        flags += ["--buckets", ",".join(bounds)]
    folders = [str(run.folder) for group in groups for run in group.runs]
    lines = ["rope-mt compare", *map(shlex.quote, folders), shlex.join([*flags, "--html", str(path)])]
    return " \\\n  ".join(lines)


def sacrebleu_command(of: FinishedRun) -> str:
    """sacreBLEU's own command for the score of a run that has its references."""
    run = RunFolder(of.folder)
    return shlex.join(["sacrebleu", str(run.test_ref), "-i", str(run.test_hyp), "-m", "bleu", "chrf"])


def _settings(cfg: TrainConfig) -> list[str]:
    """What to give on the command line besides scheme and seed.

    Raises:
        UserError: no command line gives this configuration.
    """
    groups = [f"data={cfg.data.name}", f"model={cfg.model.name}"]
    if cfg.data.dir != "data":
        groups.append(f"data.dir={_value(cfg.data.dir)}")
    wanted = flat({**identity(cfg), "files": {part: getattr(cfg.data, part) for part in FILES}})
    scheme = f"position={cfg.position.name}"
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        there = flat(_plain(compose("train", [*groups, scheme])))
        for part in FILES:
            given = there.pop(f"data.{part}")
            there[f"files.{part}"] = [given] if isinstance(given, str) else given
        more = [
            f"{name.replace('files.', 'data.')}={_value(value)}"
            for name, value in wanted.items()
            if name != "seed" and there.get(name) != value
        ]
        made = OmegaConf.to_object(compose("train", [*groups, scheme, f"seed={cfg.seed}", *more]))
    if identity(made) != identity(cfg):
        raise UserError("they come out otherwise")
    return [*groups, *more]


def _plain(cfg: Any) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(cfg, resolve=True)
    return found


def _value(value: Any) -> str:
    """As Hydra's command line has it."""
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        return QuotedString(value, Quote.single).with_quotes()
    return str(value)
