"""Test sets: where a run keeps its own, and how one is translated and scored, at the end of training and later."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rope_mt.config.data import JOINED
from rope_mt.data import corpus, text
from rope_mt.data.tokenizer import LONGEST, read
from rope_mt.runs.checkpoint import Checkpoint, run_of
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import refuse_changed_texts
from rope_mt.system.files import write_whole
from rope_mt.translation.scoring import score
from rope_mt.translation.sentence_statistics import SentenceStatistics
from rope_mt.translation.translator import Translator


def translate_and_keep(
    run: RunFolder,
    name: str,
    translator: Translator,
    src: list[str],
    ref: list[str],
    longest: int = LONGEST,
    documents: list[int] | None = None,
) -> tuple[list[str], dict[str, Any]]:
    """Translate and score a test set, and keep the hypotheses and their sufficient statistics in the run's folder.

    Args:
        name: `test` or that of an additional test set.
        longest: tokens that are read of a source.
        documents: the number of each line's document, where they are known.

    Returns:
        The hypotheses, and scores with the loss in nats per target token.
    """
    hypotheses = translator.translate(src, longest, name)
    lengths = [len(ids) for ids in read(translator.tokenizer, src, longest).ids]
    losses = translator.losses(src, ref, longest)
    statistics = SentenceStatistics.of(lengths, hypotheses, ref, losses, documents)
    statistics.write(run.counts(name))
    write_whole(run.hyp(name), "".join(line + "\n" for line in hypotheses))
    return hypotheses, {"loss": statistics.score("loss"), **asdict(score(hypotheses, ref))}


def translate_joined(
    run: RunFolder, k: int, translator: Translator, src: list[str], ref: list[str]
) -> dict[str, Any] | None:
    """Do the same with each k consecutive lines joined; None if a source outgrows the model's positions."""
    src, ref, longest = join_lines(src, k), join_lines(ref, k), k * LONGEST
    if max(len(ids) for ids in read(translator.tokenizer, src, longest).ids) > translator.longest:
        return None
    return translate_and_keep(run, JOINED.format(k), translator, src, ref, longest)[1]


def join_lines(lines: list[str], k: int) -> list[str]:
    """Each k consecutive lines as one, with a blank between them; fewer than k lines at the end are skipped."""
    return [" ".join(lines[i : i + k]) for i in range(0, len(lines) - k + 1, k)]


def own_test_set(path: Path, ckpt: Checkpoint) -> tuple[list[str], list[str]]:
    """Sources and references that a run keeps beside its checkpoint, else those that its configuration names.

    Raises:
        UserError: a file is missing, or was changed since the run.
    """
    return text.read_test_set(own_files(path, ckpt))


def own_files(path: Path, ckpt: Checkpoint) -> corpus.Files:
    """The files of `own_test_set`. A stranger's checkpoint can name any address, so nothing is downloaded."""
    run = run_of(path)
    refuse_changed_texts(run)
    if run.test_src.is_file() and run.test_ref.is_file():
        return [(run.test_src, run.test_ref)]
    data = ckpt.config.data
    return text.pairs_of_files(data.test, data.src_lang, data.tgt_lang)
