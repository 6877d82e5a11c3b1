"""The finished runs that a study reads, what their files say, and warnings about runs that were not made alike."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from rope_mt.config.data import OF_FURTHER_TESTS, DataConfig
from rope_mt.config.files import read_yaml
from rope_mt.config.plain import from_plain
from rope_mt.config.training import TrainerConfig
from rope_mt.data import text
from rope_mt.errors import UserError
from rope_mt.runs import code
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import REMEDY, read_result
from rope_mt.system.manifest import FILES
from rope_mt.translation.sentence_statistics import SentenceStatistics

# Settings that a comparison varies, or that change no result.
MAY_DIFFER = ("position", "seed", "overwrite", "tracking", "sweep")
NO_EFFECT = {
    section: [setting.name for setting in fields(config) if not setting.metadata.get("identity", True)]
    for section, config in {"data": DataConfig, "trainer": TrainerConfig}.items()
}
NO_EFFECT["trainer"].append("precision")  # the result has the precision that `auto` chose
NO_EFFECT["data"].append("joined_tests")  # a test set that not all runs were scored on is skipped
FIGURES = {  # name of a figure that runs are compared by -> its keys in result.json
    "parameters": ("parameters",),
    "tokens_seen": ("tokens_seen",),
    "tokens_per_second": ("tokens_per_second",),
    "valid_loss": ("valid", "loss"),  # nats a token
    "valid_bleu": ("valid", "bleu"),
    "bleu": ("test", "bleu"),
    "chrf": ("test", "chrf"),
}
TEST_SET = ("test.src", "test.ref")  # files whose checksums say which text it is
FEW = 0.01  # the fraction by which tokens seen may differ without a warning, since batches differ from seed to seed


class Point(NamedTuple):
    """A figure that a run wrote down during training."""

    step: int
    tokens: int  # target tokens seen so far
    value: float


@dataclass(frozen=True)
class FinishedRun:
    folder: Path
    result: dict[str, Any]
    config: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "FinishedRun | None":
        """The run in this folder; None where no run has finished.

        Raises:
            UserError: its files are damaged.
        """
        files = RunFolder(folder)
        if not (files.result.is_file() and files.config.is_file()):
            return None
        result = read_result(files)
        try:
            # a setting that is newer than the run gets the value that means the same as its absence
            run = cls(folder, result, asdict(from_plain(read_yaml(files.config))))
            run.conditions()
            if commit := str(result.get("commit") or ""):
                result["commit"] = commit[:8] + "+" * commit.endswith("+")  # as git and people write it
            for name in FIGURES:
                run.figure(name)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error
        except (LookupError, TypeError, ValueError) as error:
            message = f"{folder} is damaged: result.json and config.yaml are not those of a run; {REMEDY}"
            raise UserError(message) from error
        return run

    def figure(self, name: str) -> float:
        """One of the FIGURES."""
        value: Any = self.result
        for key in FIGURES[name]:
            value = value[key]
        return math.nan if value is None else float(value)  # the run has diverged

    @property
    def position(self) -> str:
        return self.result["position"]

    @property
    def seed(self) -> int:
        return self.result["seed"]

    @property
    def scores(self) -> dict[str, dict[str, Any] | None]:
        """The scores on each test set; None for an additional one whose lines are longer than the model reads."""
        return {"test": self.result["test"], **self.result["further_tests"]}

    def conditions(self) -> dict[str, Any]:
        """All that should be equal in a fair comparison, by dotted name."""
        settings = {name: value for name, value in self.config.items() if name not in MAY_DIFFER}
        for section, ignored in NO_EFFECT.items():
            settings[section] = {name: value for name, value in settings[section].items() if name not in ignored}
        checksums = self.result["text"].items()
        settings["text"] = {part: sum for part, sum in checksums if not part.startswith(OF_FURTHER_TESTS)}
        for name in ("precision", "steps", "processes"):
            settings[name] = self.result[name]
        return flat({**settings, "signature": self.result["test"]["bleu_signature"]})

    def statistics(self, test: str = "test") -> SentenceStatistics:
        """The sufficient statistics of BLEU of the translations of a test set.

        Raises:
            UserError: the file is missing or damaged, or gives another score than the result.
        """
        path = RunFolder(self.folder).counts(test)
        scores = self.scores[test]
        assert scores is not None
        counts = SentenceStatistics.read(path)
        if abs(counts.score("bleu") - scores["bleu"]) > 0.005:
            made = f"{path} makes {counts.score('bleu'):.2f} BLEU and its result.json says {scores['bleu']:.2f}"
            raise UserError(f"{made}: {REMEDY}")
        return counts

    def hypotheses(self) -> list[str]:
        """The translations of the test set.

        Raises:
            UserError: the file is missing or damaged.
        """
        path = RunFolder(self.folder).test_hyp
        return text.read_test_set([(path, path)])[1]

    def curves(self) -> dict[str, list[Point]]:
        """Losses in nats a token, and BLEU, by their names in metrics.jsonl.

        Raises:
            UserError: the file is missing or damaged, or has no validation.
        """
        path = RunFolder(self.folder).metrics
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        curves: dict[str, list[Point]] = {"valid/loss": [], "valid/bleu": [], "train/loss": []}
        for number, line in enumerate(lines, start=1):
            try:
                row: dict[str, Any] = json.loads(line)
                for name, curve in curves.items():
                    if name in row:
                        value = math.nan if row[name] is None else float(row[name])
                        curve.append(Point(int(row["step"]), int(row["tokens"]), value))
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise UserError(f"{path}, line {number}, is damaged: leave the run out, or train it again") from error
        if not curves["valid/loss"]:
            raise UserError(f"there is no validation in {path}: leave the run out")
        return curves


def tokens_to(loss: float, curve: Sequence[Point]) -> float | None:
    """After how many tokens the loss first was down to this one, on a straight line between two validations.

    Before the first validation, and after one that diverged, nothing is known: there it is the next validation.
    None: never.
    """
    before = Point(0, 0, math.nan)
    for point in curve:
        if point.value <= loss:
            if not loss < before.value < math.inf:
                return float(point.tokens)
            fraction = (before.value - loss) / (before.value - point.value)
            return before.tokens + fraction * (point.tokens - before.tokens)
        before = point
    return None


def read_runs(folders: Sequence[Path]) -> tuple[list[FinishedRun], list[Path]]:
    """The finished runs in these folders, each once and sorted by scheme, and the folders of unfinished runs.

    Schemes are in the order of their first runs.

    Raises:
        UserError: a folder does not exist, no run has finished, or a run is damaged.
    """
    for folder in folders:
        if not folder.exists():
            raise UserError(f"no such run: {folder}")
    runs, unfinished = [], []
    for folder in {folder.resolve(): folder for folder in folders if folder.is_dir()}.values():
        run = FinishedRun.read(folder)
        if run is not None:
            runs.append(run)
        elif RunFolder(folder).identity.is_file():
            unfinished.append(folder)
    if not runs:
        raise UserError(f"no finished run in {', '.join(map(str, folders))}: name run folders, as in outputs/*")
    schemes = [run.position for run in runs]
    runs.sort(key=lambda run: schemes.index(run.position))
    return runs, unfinished


def by_test_set(runs: list[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """The runs by their test set, whose name is unique."""
    names: dict[tuple[str | None, ...], str] = {}
    parts: dict[str, list[FinishedRun]] = {}
    for run in runs:
        key = tuple(run.result[FILES].get(name) for name in TEST_SET)
        if key not in names:
            name = run.result["test_set"] or f"the test set of data={run.result['data']}"
            names[key] = f"{name}, {key[1]}" if name in names.values() else name
        parts.setdefault(names[key], []).append(run)
    return parts


def refuse_other_test_sets(runs: list[FinishedRun]) -> None:
    """Compare the checksums of the runs' test sets; the text itself need not be in their folders.

    Raises:
        UserError: the runs have different test sets.
    """
    first = runs[0]
    for run in runs[1:]:
        for name in TEST_SET:
            ours, theirs = first.result[FILES].get(name), run.result[FILES].get(name)
            if ours != theirs or ours is None:
                both = f"{first.folder} and {run.folder}"
                raise UserError(f"{both} have different test sets ({name}): compare each alone")


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    leaves = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


def _differing(trees: list[dict[str, Any]]) -> dict[str, str]:
    """Where these settings by dotted name differ: the distinct values of each, as "A and B"."""
    differing = {}
    for name in dict.fromkeys(name for tree in trees for name in tree):
        values = dict.fromkeys(str(tree.get(name)) for tree in trees)
        if len(values) > 1:
            differing[name] = " and ".join(values)
    return differing


def warnings_about(runs: list[FinishedRun], unfinished: list[Path]) -> list[str]:
    """What makes runs less comparable: other conditions, code, machines or tokens seen, and skipped updates.

    Unfinished runs have a line too.
    """
    lines = []
    for name, values in _differing([run.conditions() for run in runs]).items():
        lines.append(f"warning: runs differ in {name}: {values}")
    codes = [run.result.get("code", {}) for run in runs]
    if all(codes):
        changed = {name for run in runs for name in run.result["changed_code"]}
        if changed := sorted(changed.union(*(code.differing(codes[0], other) for other in codes))):
            lines.append(f"warning: runs were made with other code: {code.listed(changed)}")
    made = ("versions", "device") if all(codes) else ("commit", "versions", "device")
    origins = [flat({name: run.result.get(name) for name in made}) for run in runs]
    for name, values in _differing(origins).items():
        lines.append(f"warning: runs were made with another {name}: {values}")
    tokens = [run.result["tokens_seen"] for run in runs]
    if max(tokens) > (1 + FEW) * min(tokens):
        lines.append(f"warning: runs differ in tokens seen: from {min(tokens):,} to {max(tokens):,}")
    for run in runs:
        if skipped := run.result["skipped_updates"]:
            updates = f"{skipped:,} of {run.result['steps']:,} updates"
            lines.append(f"warning: {run.folder} skipped {updates}: loss or gradient was not finite")
    if unfinished:
        lines.append(f"not finished: {', '.join(map(str, unfinished))}")
    return lines
