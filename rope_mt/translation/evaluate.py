"""`rope-mt eval`: translate a test set with a checkpoint and score it, exactly as training does at its end."""

import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rope_mt.config.commands import EvalConfig
from rope_mt.data import text
from rope_mt.data.checks import name_of_test_set, warnings_about
from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.selection import select
from rope_mt.runs.tracking import attach
from rope_mt.system.device import choose_device, choose_precision
from rope_mt.translation.scoring import Scores, lines_of, require_raw_text, scoring_warnings, variants
from rope_mt.translation.test_sets import own_files, run_of, score_translations
from rope_mt.translation.translator import Translator, changed


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
    for doubt in odd + scoring_warnings(hypotheses, ref):
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
    with attach(run_of(path).path) as tracker:
        tracker.summarize({f"{name}/{key}": value for key, value in {**found, "settings": " ".join(given)}.items()})
        tracker.log_translations(f"{name}/translations", rows)
    return tracker.where()


def _test_set(cfg: EvalConfig, path: Path, ckpt: Checkpoint) -> tuple[list[str], list[str], list[str]]:
    """Sources and references that were asked for, else the run's own; and what is odd about them.

    Raises:
        UserError: the files are missing or not fit to be scored with.
    """
    langs = ckpt.config.data.src_lang, ckpt.config.data.tgt_lang
    if cfg.data.test is None:
        try:
            names, files = [str(path)], own_files(path, ckpt)
        except UserError as error:
            raise UserError(f"{error}; or name another test set with data.test=PREFIX") from error
    else:
        names = [cfg.data.test] if isinstance(cfg.data.test, str) else list(cfg.data.test)
        files = text.pairs_of_files(names, *langs)
    src, ref = text.read_test_set(files)
    require_raw_text(ref, ", ".join(names))
    return src, ref, warnings_about(files, ckpt.tokenizer, *langs)
