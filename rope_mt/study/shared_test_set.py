"""The test sets that runs share: what BLEU counts in their translations, and the text where it is at hand."""

from rope_mt.data import text
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import REMEDY
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.translation.bleu_statistics import BleuStatistics


def counts(run: FinishedRun, test: str = "test") -> BleuStatistics:
    """What BLEU counts in a run's translations of a test set, which give the score that its result tells.

    Raises:
        UserError: the file is missing or damaged, or of another score.
    """
    path = RunFolder(run.folder).counts(test)
    scores = run.test(test)
    assert scores is not None
    found, said = BleuStatistics.read(path), scores["bleu"]
    if abs(found.bleu() - said) > 0.005:
        raise UserError(f"{path} makes {found.bleu():.2f} BLEU and its result.json says {said:.2f}: {REMEDY}")
    return found


def texts(runs: list[FinishedRun]) -> tuple[list[str], list[str]]:
    """Sources and references, from the first run that has them, or from where a record's text was when it was made.

    Raises:
        UserError: they are nowhere, or damaged.
    """
    for run in runs:
        folder = RunFolder(run.folder)
        if folder.test_src.is_file() and folder.test_ref.is_file():
            sides = text.read_test_set([(folder.test_src, folder.test_ref)])
            if len(sides[0]) != (sentences := _sentences(run)):
                raise UserError(f"{folder.test_ref} has {len(sides[1]):,} lines and {folder.test_hyp} {sentences:,}")
            return sides
    first = RunFolder(runs[0].folder)
    lacking = {f"the text of the test set is not there, {first.test_src} and {first.test_ref}": None}
    for run in runs:
        data = run.config["data"]
        try:
            files = text.pairs_of_files(data["test"], data["src_lang"], data["tgt_lang"])
        except UserError as error:
            lacking[str(error)] = None
            continue
        if text.fingerprint(files) == run.result["text"].get("test"):
            return text.read_test_set(files)
        lacking[f"{', '.join(data['test'])} is another text now"] = None
    raise UserError("; ".join(lacking))


def hypotheses(run: FinishedRun) -> list[str]:
    """What a run made of the test set.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = RunFolder(run.folder).test_hyp
    lines = text.read_test_set([(path, path)])[1]
    if len(lines) != (sentences := _sentences(run)):
        raise UserError(f"{path} has {len(lines):,} lines and the test set {sentences:,}")
    return lines


def _sentences(run: FinishedRun) -> int:
    return len(BleuStatistics.read(RunFolder(run.folder).counts("test")).rows)
