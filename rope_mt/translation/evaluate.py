"""`rope-mt eval`: translate a test set with a checkpoint and score it, exactly as training does at its end."""

import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rope_mt.config.commands import EvalConfig
from rope_mt.config.data import JOINED
from rope_mt.data import corpus, text
from rope_mt.data.checks import name_of_test_set, warnings_about
from rope_mt.data.tokenizer import LONGEST, read
from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import refuse_changed_texts
from rope_mt.runs.selection import select
from rope_mt.runs.tracking import attach
from rope_mt.system.device import choose_device, choose_precision
from rope_mt.system.files import write_whole
from rope_mt.translation.bleu_statistics import Counts
from rope_mt.translation.scoring import Scores, doubts, lines_of, refuse_subwords, refuse_tokenised, score, variants
from rope_mt.translation.translator import Translator, changed


def score_translations(translator: Translator, src: list[str], ref: list[str]) -> tuple[list[str], Scores]:
    """The hypotheses for these sources, and their scores against the references."""
    hypotheses = translator.translate(src)
    return hypotheses, score(hypotheses, ref)


def translate_and_keep(
    run: RunFolder, name: str, translator: Translator, src: list[str], ref: list[str], most: int = LONGEST
) -> tuple[list[str], Scores]:
    """Translate a test set and keep the hypotheses in the run's folder, with what their scores are made of.

    Args:
        name: `test`, or that of a further test set.
        most: tokens that are read of a source.
    """
    hypotheses = translator.translate(src, most)
    Counts.of(map(len, read(translator.tokenizer, src, most).ids), hypotheses, ref).write(run.counts(name))
    write_whole(run.hyp(name), "".join(line + "\n" for line in hypotheses))
    return hypotheses, score(hypotheses, ref)


def translate_joined(run: RunFolder, k: int, translator: Translator, src: list[str], ref: list[str]) -> Scores | None:
    """The same of the test set with each k consecutive lines joined to one; None where the model reads none so long."""
    src, ref, most = joined(src, k), joined(ref, k), k * LONGEST
    known = translator.model.max_len
    if known is not None and max(map(len, read(translator.tokenizer, src, most).ids)) > known:
        return None
    return translate_and_keep(run, JOINED.format(k), translator, src, ref, most)[1]


def joined(lines: list[str], k: int) -> list[str]:
    """Each k consecutive lines as one, with a blank between; lines left over at the end are left out."""
    return [" ".join(lines[i : i + k]) for i in range(0, len(lines) - k + 1, k)]


def refuse_unfit(references: list[str], where: str) -> None:
    """Refuse references that no score should be made with; `where` they are from is for the message.

    Raises:
        UserError: they are in subwords, or tokenised.
    """
    refuse_subwords(references, f"the references of {where}")
    refuse_tokenised(references, f"the references of {where}")


def evaluate(cfg: EvalConfig) -> float:
    """Print the scores of a run or checkpoint on its test set, or on `data.test`; return BLEU."""
    path = Path(cfg.checkpoint)
    ckpt, weights = select(path, cfg.checkpoints)
    device = choose_device(cfg.device)
    precision = choose_precision(cfg.precision or ckpt.config.trainer.precision, device)
    src, ref, odd = _test_set(cfg, path, ckpt)
    translator = Translator.of(ckpt, changed(ckpt.config.search, cfg.search), device, precision)
    hypotheses, scores = score_translations(translator, src, ref)
    console = Console(highlight=False)
    lines = [
        Text(f"test set  {name_of_test_set(ref) or f'{len(ref):,} sentences'}"),
        Text(f"weights   {weights}"),
        *lines_of(scores, variants(hypotheses, ref, ckpt.config.data.tgt_lang)),
    ]
    for line in lines:
        console.print(line, soft_wrap=True)
    for doubt in odd + doubts(hypotheses, ref):
        Console(stderr=True).print(Text(doubt, "yellow"), soft_wrap=True)
    where = _add_to_run(cfg, path, scores, list(zip(src, ref, hypotheses, strict=True)))
    if where:
        console.print(Text(where, "dim"), soft_wrap=True)
    return scores.bleu


def _add_to_run(cfg: EvalConfig, path: Path, scores: Scores, rows: list[tuple[str, str, str]]) -> str:
    """Tell W&B, if it has the run, what this evaluation found, under a name made of what it does other than the run.

    Returns:
        A line for the user, where to look.
    """
    words = {"checkpoints": path.name if path.is_file() else cfg.checkpoints, "data.test": cfg.data.test}
    words |= {f"search.{name}": value for name, value in vars(cfg.search).items()}
    words["precision"] = cfg.precision
    given = [f"{word}={value}" for word, value in words.items() if value not in (None, "average", "average.ckpt")]
    # W&B can sort by, and draw, names of few kinds of characters; the exact words are a value
    parts = [re.sub("[^A-Za-z0-9]+", "-", word.removeprefix("search.")).strip("-") for word in given]
    name = f"eval/{'_'.join(parts) or 'as-trained'}"
    found = {"bleu": scores.bleu, "chrf": scores.chrf, "bleu_signature": scores.bleu_signature}
    with attach(_run_of(path).path) as tracker:
        tracker.summarize({f"{name}/{key}": value for key, value in {**found, "settings": " ".join(given)}.items()})
        tracker.log_translations(f"{name}/translations", rows)
    return tracker.where()


def own_test_set(path: Path, ckpt: Checkpoint) -> tuple[list[str], list[str]]:
    """Sources and references that a run keeps beside its checkpoint, else those that its configuration names.

    Raises:
        UserError: a file was changed since the run, or is not there.
    """
    return text.read_test_set(_own_files(path, ckpt))


def _own_files(path: Path, ckpt: Checkpoint) -> corpus.Files:
    """Nothing is fetched: from where and to where is what anybody may have written into a checkpoint.

    Raises:
        UserError: a file was changed since the run, or is not there.
    """
    run = _run_of(path)
    refuse_changed_texts(run)
    if run.test_src.is_file() and run.test_ref.is_file():
        return [(run.test_src, run.test_ref)]
    data = ckpt.config.data
    return text.pairs_of_files(data.test, data.src_lang, data.tgt_lang)


def _run_of(path: Path) -> RunFolder:
    """Where the run of this path would lie, which is a run folder or a checkpoint in one."""
    return RunFolder(path if path.is_dir() else path.parent.parent)


def _test_set(cfg: EvalConfig, path: Path, ckpt: Checkpoint) -> tuple[list[str], list[str], list[str]]:
    """Sources and references that were asked for, else the run's own; and what is odd about them.

    Raises:
        UserError: the files are missing or not fit to be scored with.
    """
    langs = ckpt.config.data.src_lang, ckpt.config.data.tgt_lang
    if cfg.data.test is None:
        try:
            names, files = [str(path)], _own_files(path, ckpt)
        except UserError as error:
            raise UserError(f"{error}; or name another test set with data.test=PREFIX") from error
    else:
        names = [cfg.data.test] if isinstance(cfg.data.test, str) else list(cfg.data.test)
        files = text.pairs_of_files(names, *langs)
    src, ref = text.read_test_set(files)
    refuse_unfit(ref, ", ".join(names))
    return src, ref, warnings_about(files, ckpt.tokenizer, *langs)
