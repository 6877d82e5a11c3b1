"""`rope-mt eval`: translate a test set with a checkpoint and score it, exactly as training does at its end."""

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from rope_mt.config.commands import EvalConfig
from rope_mt.data import own, text
from rope_mt.data.checks import name_of_test_set, warnings_about
from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import Checkpoint, run_of, select
from rope_mt.runs.tracking import attach
from rope_mt.translation.raw_text import require_raw_text, scoring_warnings
from rope_mt.translation.scored_sets import own_files
from rope_mt.translation.scoring import Scores, score, score_lines, variants
from rope_mt.translation.translator import Translator


def evaluate(cfg: EvalConfig) -> float:
    """Print the scores of a run or checkpoint on its own test set, or on `data.test`; return BLEU (0-100)."""
    ckpt, weights = select(Path(cfg.checkpoint), cfg.checkpoints)
    translator = Translator.of_command(ckpt, cfg)
    src, ref, warnings = _read_test_set(cfg, ckpt)
    hypotheses = translator.translate(src, name="the test set")
    scores = score(hypotheses, ref)
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"test set  {name_of_test_set(ref) or f'{len(ref):,} sentences'}"))
    console.print(Text(f"weights   {weights}"))
    nats, tokens = map(sum, zip(*translator.losses(src, ref), strict=True))
    console.print(Text(f"loss      {nats / tokens:.4f} nats per target token, {tokens:,} tokens"))
    for line in score_lines(scores, variants(hypotheses, ref, ckpt.config.data.tgt_lang)):
        console.print(line)
    for warning in warnings + scoring_warnings(hypotheses, ref):
        Console(stderr=True, soft_wrap=True).print(Text(warning, "yellow"))
    if where := _add_to_tracked_run(cfg, scores, list(zip(src, ref, hypotheses, strict=True))):
        console.print(Text(where, "dim"))
    return scores.bleu


def _read_test_set(cfg: EvalConfig, ckpt: Checkpoint) -> tuple[list[str], list[str], list[str]]:
    """Sources and references of `data.test`, else of the run's own test set; and warnings about them."""
    languages = ckpt.config.data.src_lang, ckpt.config.data.tgt_lang
    with TemporaryDirectory() as folder:  # for the plain text of tables
        if cfg.data.test is None:
            names = [str(Path(cfg.checkpoint))]
            try:
                files = own_files(Path(cfg.checkpoint), ckpt)
            except UserError as error:
                raise UserError(f"{error}; or name another test set with data.test=FILE.tsv or PREFIX") from error
        else:
            names = [cfg.data.test] if isinstance(cfg.data.test, str) else list(cfg.data.test)
            data = replace(ckpt.config.data, columns=cfg.data.columns, dir=folder)
            files = text.pairs_of_files(own.plain(names, data), *languages)
        src, ref = text.read_test_set(files)
        require_raw_text(ref, ", ".join(names))
        warnings = warnings_about(files, ckpt.tokenizer, *languages)
    return src, ref, [line.replace(f"{folder}/", "") for line in warnings]


def _add_to_tracked_run(cfg: EvalConfig, scores: Scores, rows: list[tuple[str, str, str]]) -> str:
    """Add scores and translations to the run in W&B, if it is there, and return the line that says where to look.

    Their name says how this evaluation differs from that of training.
    """
    path = Path(cfg.checkpoint)
    run = run_of(path)
    settings = {"checkpoints": cfg.checkpoints if run.path == path else path.name, "data.test": cfg.data.test}
    settings |= {f"search.{name}": value for name, value in vars(cfg.search).items()}
    settings |= {f"position.{name}": value for name, value in vars(cfg.position).items()}
    settings["positions.eval"], settings["precision"] = cfg.positions.eval, cfg.precision
    given = [f"{name}={value}" for name, value in settings.items() if value not in (None, "average")]
    # W&B sorts by names of letters, digits and dashes only; the exact words are kept as a value
    parts = [re.sub("[^A-Za-z0-9]+", "-", word.removeprefix("search.")).strip("-") for word in given]
    name = f"eval/{'_'.join(parts) or 'as-trained'}"
    values = {"bleu": scores.bleu, "chrf": scores.chrf, "bleu_signature": scores.bleu_signature}
    values["settings"] = " ".join(given)
    with attach(run.path) as tracker:
        tracker.summarize({f"{name}/{key}": value for key, value in values.items()})
        tracker.log_translations(f"{name}/translations", rows)
    return tracker.where()
