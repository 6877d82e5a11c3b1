"""The test set that runs share: its text, what they made of it, and the buckets of length that it falls into."""

from rope_mt.data import text
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.study.finished_runs import FinishedRun

TENS = (10, 20, 30, 40, 50, 60)  # bounds of the buckets where no test source is longer than what was trained on


def shared_test_set(runs: list[FinishedRun]) -> tuple[list[str], list[str]]:
    """Sources and references.

    Raises:
        UserError: the runs do not share them, or a file is missing or damaged.
    """
    first = RunFolder(runs[0].folder)
    src, ref = text.read_test_set([(first.test_src, first.test_ref)])
    for run in runs[1:]:
        other = RunFolder(run.folder)
        for path, ours, theirs in zip(
            (other.test_src, other.test_ref),
            (src, ref),
            text.read_test_set([(other.test_src, other.test_ref)]),
            strict=True,
        ):
            if ours != theirs:
                raise UserError(
                    f"{first.path} and {other.path} have different test sets ({path.name}): give each its own table"
                )
    return src, ref


def hypotheses(run: FinishedRun) -> list[str]:
    """What a run made of the test set.

    Raises:
        UserError: the file is missing or damaged, or does not have a line for each reference.
    """
    folder = RunFolder(run.folder)
    return text.read_test_set([(folder.test_ref, folder.test_hyp)])[1]


def default_bounds(cap: int, longest: int) -> list[int]:
    """Multiples of what was trained on where the test set goes beyond it, else tens; none that reaches `longest`."""
    multiples = [round(cap * factor) for factor in (0.5, 1, 1.5, 2, 3)]
    wanted = multiples if cap < longest else TENS
    return sorted({bound for bound in wanted if 0 < bound < longest})
