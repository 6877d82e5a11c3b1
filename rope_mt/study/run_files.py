"""What the files of a finished run say of its test sets and of its training."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from rope_mt.data import text
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import REMEDY
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.translation.sentence_statistics import SentenceStatistics


def statistics(run: FinishedRun, test: str = "test") -> SentenceStatistics:
    """The sufficient statistics of BLEU of a run's translations of a test set.

    Raises:
        UserError: the file is missing or damaged, or gives another score than the result.
    """
    path = RunFolder(run.folder).counts(test)
    scores = run.scores[test]
    assert scores is not None
    counts = SentenceStatistics.read(path)
    if abs(counts.score("bleu") - scores["bleu"]) > 0.005:
        made = f"{path} makes {counts.score('bleu'):.2f} BLEU and its result.json says {scores['bleu']:.2f}"
        raise UserError(f"{made}: {REMEDY}")
    return counts


def texts(runs: list[FinishedRun]) -> tuple[list[str], list[str]]:
    """Sources and references of the test set, from the first run folder that has them, or from where a run read them.

    Raises:
        UserError: they are in neither place, or damaged.
    """
    for run in runs:
        folder = RunFolder(run.folder)
        if folder.test_src.is_file() and folder.test_ref.is_file():
            return text.read_test_set([(folder.test_src, folder.test_ref)])
    first = RunFolder(runs[0].folder)
    missing = [f"the text of the test set is not there, {first.test_src} and {first.test_ref}"]
    for run in runs:
        data = run.config["data"]
        try:
            files = text.pairs_of_files(data["test"], data["src_lang"], data["tgt_lang"])
        except UserError as error:
            missing.append(str(error))
            continue
        if text.fingerprint(files) == run.result["text"].get("test"):
            most = run.config["trainer"]["test_sentences"]  # null: all were translated
            src, ref = text.read_test_set(files)
            return src[:most], ref[:most]
        missing.append(f"{', '.join(data['test'])} is another text now")
    raise UserError("; ".join(dict.fromkeys(missing)))


def hypotheses(run: FinishedRun) -> list[str]:
    """A run's translations of the test set.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = RunFolder(run.folder).test_hyp
    return text.read_test_set([(path, path)])[1]


class Point(NamedTuple):
    """A figure that a run wrote down during training."""

    step: int
    tokens: int  # target tokens seen so far
    value: float


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


def curves(run: FinishedRun, *names: str) -> list[list[Point]]:
    """The curves of these names in a run's metrics.jsonl.

    Raises:
        UserError: the file is missing or damaged, or has no validation.
    """
    path = RunFolder(run.folder).metrics
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    read: dict[str, list[Point]] = {name: [] for name in ("valid/loss", *names)}
    for number, line in enumerate(lines, start=1):
        try:
            row: dict[str, Any] = json.loads(line)
            for name, curve in read.items():
                if name in row:
                    value = math.nan if row[name] is None else float(row[name])
                    curve.append(Point(int(row["step"]), int(row["tokens"]), value))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise UserError(f"{path}, line {number}, is damaged: leave the run out, or train it again") from error
    if not read["valid/loss"]:
        raise UserError(f"there is no validation in {path}: leave the run out")
    return [read[name] for name in names]


def loss_curve(run: FinishedRun) -> list[Point]:
    """The validation loss of a run, in nats a token. Raises UserError as `curves` does."""
    return curves(run, "valid/loss")[0]
