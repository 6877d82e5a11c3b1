"""`rope-mt compare RUN...`: one table over finished runs, and a warning where they differ in what should be equal."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table
from rich.text import Text
from yaml import YAMLError

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder

MAY_DIFFER = ("position", "seed", "overwrite", "tracking")  # settings that a comparison varies, or that change nothing


@dataclass(frozen=True)
class FinishedRun:
    folder: Path
    result: dict[str, Any]
    config: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "FinishedRun | None":
        """The run in this folder; None where none has finished.

        Raises:
            UserError: its files are damaged.
        """
        run = RunFolder(folder)
        if not (run.result.is_file() and run.config.is_file()):
            return None
        try:
            result = json.loads(run.result.read_text(encoding="utf-8"))
            config = OmegaConf.to_container(OmegaConf.load(run.config))
        except (ValueError, OSError, YAMLError, OmegaConfBaseException) as error:
            raise UserError(f"{folder} is damaged: {str(error).splitlines()[0]}") from error
        if not (isinstance(result, dict) and isinstance(config, dict) and "test" in result):
            raise UserError(f"{folder} is damaged: result.json and config.yaml are not those of a run")
        return cls(folder, result, {str(key): value for key, value in config.items()})

    def conditions(self) -> dict[str, Any]:
        """All that should be equal in a fair comparison, by dotted name."""
        settings = {name: value for name, value in self.config.items() if name not in MAY_DIFFER}
        for ignored in ("train", "valid", "test", "origin", "workers", "dir", "recipe"):
            settings["data"] = {k: v for k, v in settings["data"].items() if k != ignored}
        of_result = {name: self.result[name] for name in ("text", "precision", "steps")}
        return _flat({**settings, **of_result, "signature": self.result["test"]["bleu_signature"]})


def read_runs(folders: Sequence[Path]) -> tuple[list[FinishedRun], list[Path]]:
    """The finished runs in these folders, each once, those of a scheme one behind the other; and unfinished ones.

    Raises:
        UserError: there is no such folder, no run has finished, or one is damaged.
    """
    for folder in folders:
        if not folder.exists():
            raise UserError(f"no such run: {folder}")
    once = {folder.resolve(): folder for folder in folders if folder.is_dir()}.values()
    read = {folder: FinishedRun.read(folder) for folder in once}
    runs = [run for run in read.values() if run is not None]
    if not runs:
        raise UserError(f"no finished run in {', '.join(str(folder) for folder in folders)}")
    schemes = [run.result["position"] for run in runs]
    runs.sort(key=lambda run: schemes.index(run.result["position"]))
    return runs, [folder for folder, run in read.items() if run is None and RunFolder(folder).identity.is_file()]


def warnings(runs: list[FinishedRun], unfinished: list[Path]) -> Iterator[Text]:
    """A line for each condition that differs between runs, and one for runs that were left out."""
    for name, values in differences(runs).items():
        said = " and ".join(str(value) for value in values)
        yield Text(f"warning: runs differ in {name}: {said}", "yellow")
    if unfinished:
        yield Text(f"not finished: {', '.join(str(folder) for folder in unfinished)}", "yellow")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def differences(runs: list[FinishedRun]) -> dict[str, list[Any]]:
    """What should be equal and is not: the distinct values of each such condition."""
    conditions = [run.conditions() for run in runs]
    found = {}
    for name in dict.fromkeys(name for each in conditions for name in each):
        values = [each.get(name) for each in conditions]
        if any(value != values[0] for value in values):
            found[name] = [value for i, value in enumerate(values) if value not in values[:i]]
    return found


def table(runs: list[FinishedRun]) -> Table:
    """A row a run, grouped by scheme."""
    columns = ("position", "seed", "size", "tokens seen", "valid loss", "valid BLEU", "BLEU", "chrF", "tokens/s")
    out = Table(box=None, header_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        out.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for run in runs:
        result = run.result
        out.add_row(
            result["position"],
            str(result["seed"]),
            f"{result['parameters'] / 1e6:.2f} M",
            f"{result['tokens_seen'] / 1e6:.2f} M",
            f"{result['valid']['loss']:.3f}",
            f"{result['valid']['bleu']:.2f}",
            f"{result['test']['bleu']:.2f}",
            f"{result['test']['chrf']:.2f}",
            f"{result['tokens_per_second']:,.0f}",
        )
    return out


def main(arguments: list[str]) -> int:
    """Print the table over the run folders that `arguments` name; folders without a finished run are named below."""
    parser = argparse.ArgumentParser(
        prog="rope-mt compare",
        description="One table over finished runs: scheme, seed, size, tokens seen, loss, BLEU, chrF, speed.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="a run folder, as in outputs/*")
    runs, unfinished = read_runs(parser.parse_args(arguments).runs)
    console = Console(highlight=False)
    console.print(table(runs))
    console.print(Text(runs[0].result["test"]["bleu_signature"], "dim"))
    for line in warnings(runs, unfinished):
        console.print(line, soft_wrap=True)
    return 0
