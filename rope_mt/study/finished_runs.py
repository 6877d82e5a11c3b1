"""The finished runs that a study reads, and what differs between them that should be equal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.text import Text

from rope_mt.config.data import OF_FURTHER_TESTS, DataConfig
from rope_mt.config.plain import from_plain, read_yaml, to_plain
from rope_mt.config.training import TrainerConfig
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import REMEDY, read_result
from rope_mt.system.manifest import FILES

# settings that a comparison varies, or that change nothing
MAY_DIFFER = ("position", "seed", "overwrite", "tracking", "sweep")
NO_EFFECT = {
    section: [setting.name for setting in fields(config) if not setting.metadata.get("identity", True)]
    for section, config in {"data": DataConfig, "trainer": TrainerConfig}.items()
}
NO_EFFECT["trainer"].append("precision")  # what it came to is in the result
NO_EFFECT["data"].append("joined_tests")  # nor has it any on the rest: what not all runs were scored on is left out
FIGURES = {  # what a run is compared by: name -> where it lies in result.json
    "parameters": ("parameters",),
    "tokens_seen": ("tokens_seen",),
    "tokens_per_second": ("tokens_per_second",),
    "valid_loss": ("valid", "loss"),  # nats a token
    "valid_bleu": ("valid", "bleu"),
    "bleu": ("test", "bleu"),
    "chrf": ("test", "chrf"),
}
FEW = 0.01  # by so small a part the tokens seen may differ, since batches do from seed to seed


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
        result = read_result(run)
        damaged = UserError(f"{folder} is damaged: result.json and config.yaml are not those of a run; {REMEDY}")
        try:
            # settings that came later have the values that the run had without them
            found = cls(folder, result, to_plain(from_plain(read_yaml(run.config))))
            found._refuse_strange()
            found.conditions()
            for name in FIGURES:
                found.figure(name)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise damaged from error
        return found

    def _refuse_strange(self) -> None:
        """Refuse a result whose values are not of the kinds that are read of it.

        Raises:
            LookupError, TypeError: it is so.
        """
        kinds = {"position": str, "seed": int, "key": str, "precision": str, "text": dict}
        kinds |= {"tokens_seen": int, "skipped_updates": int, "processes": int}
        for name, kind in kinds.items():
            if type(self.result[name]) is not kind:
                raise TypeError(name)
        if type(self.result["test"]["bleu_signature"]) is not str:
            raise TypeError("bleu_signature")
        digests = (self.result[FILES], self.result["text"])
        if not all(isinstance(of, dict) and all(isinstance(each, str) for each in of.values()) for of in digests):
            raise TypeError("digests")

    def figure(self, name: str) -> float:
        """One of the FIGURES."""
        value: Any = self.result
        for key in FIGURES[name]:
            value = value[key]
        return float(value)

    @property
    def further_tests(self) -> dict[str, dict[str, Any] | None]:
        """The scores on each further test set; None where its lines are longer than the model reads."""
        return self.result["further_tests"]

    def test(self, name: str = "test") -> dict[str, Any] | None:
        """The scores on the test set, or on a further one."""
        return self.result["test"] if name == "test" else self.further_tests[name]

    @property
    def position(self) -> str:
        return str(self.result["position"])

    @property
    def seed(self) -> int:
        return int(self.result["seed"])

    def conditions(self) -> dict[str, Any]:
        """All that should be equal in a fair comparison, by dotted name."""
        settings = {name: value for name, value in self.config.items() if name not in MAY_DIFFER}
        for section, ignored in NO_EFFECT.items():
            settings[section] = {k: v for k, v in settings[section].items() if k not in ignored}
        text = {part: of for part, of in self.result["text"].items() if not part.startswith(OF_FURTHER_TESTS)}
        of_result = {name: self.result[name] for name in ("precision", "steps", "processes")}
        return flat({**settings, "text": text, **of_result, "signature": self.result["test"]["bleu_signature"]})


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
    schemes = [run.position for run in runs]
    runs.sort(key=lambda run: schemes.index(run.position))
    return runs, [folder for folder, run in read.items() if run is None and RunFolder(folder).identity.is_file()]


def refuse_other_tests(runs: list[FinishedRun]) -> None:
    """Compare the test sets of runs by the digests in their results; a run's text need not be there.

    Raises:
        UserError: they differ.
    """
    first = RunFolder(runs[0].folder)
    for run in runs[1:]:
        for name in (first.test_src.name, first.test_ref.name):
            ours, theirs = (each.result[FILES].get(name) for each in (runs[0], run))
            if ours != theirs or ours is None:
                both = f"{first.path} and {run.folder}"
                raise UserError(f"{both} have different test sets ({name}): give each its own table")


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def differences(runs: list[FinishedRun]) -> dict[str, list[Any]]:
    """What should be equal and is not: the distinct values of each such condition."""
    return _unequal([run.conditions() for run in runs])


def _unequal(of_runs: list[dict[str, Any]]) -> dict[str, list[Any]]:
    found = {}
    for name in dict.fromkeys(name for each in of_runs for name in each):
        values = [each.get(name) for each in of_runs]
        if any(value != values[0] for value in values):
            found[name] = [value for i, value in enumerate(values) if value not in values[:i]]
    return found


def cautions(runs: list[FinishedRun], unfinished: list[Path]) -> list[str]:
    """What makes runs less comparable: other conditions, code, machines or tokens seen, updates that were left out.

    And a line for those that have not finished.
    """
    said = [
        f"warning: runs differ in {name}: {' and '.join(str(value) for value in values)}"
        for name, values in differences(runs).items()
    ]
    made_with = [flat({name: run.result.get(name) for name in ("commit", "versions", "device")}) for run in runs]
    said += [
        f"warning: runs were made with another {name}: {' and '.join(str(value) for value in values)}"
        for name, values in _unequal(made_with).items()
    ]
    fewest, most = (f(run.result["tokens_seen"] for run in runs) for f in (min, max))
    if most > (1 + FEW) * fewest:
        said.append(f"warning: runs differ in tokens seen: from {fewest:,} to {most:,}")
    said += [
        f"warning: {run.folder} left out {n:,} of {run.result['steps']:,} updates: loss or gradient was not finite"
        for run in runs
        if (n := run.result["skipped_updates"])
    ]
    if unfinished:
        said.append(f"not finished: {', '.join(str(folder) for folder in unfinished)}")
    return said


def warnings(runs: list[FinishedRun], unfinished: list[Path]) -> Iterator[Text]:
    """The same, to be printed."""
    return (Text(line, "yellow") for line in cautions(runs, unfinished))
