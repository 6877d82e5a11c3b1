"""The scores of a trained run: it reads the run folder, translates all test sets, and writes the result there."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import JOINED
from rope_mt.config.plain import from_plain
from rope_mt.data import text
from rope_mt.data.batches import Batch
from rope_mt.data.checks import name_of_test_set, warnings_about
from rope_mt.data.datamodule import validation_batches
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.folder import AGAIN, RunFolder, provenance
from rope_mt.runs.result import write_result
from rope_mt.runs.tracking import Tracker
from rope_mt.system.device import choose_device, computing_in, describe
from rope_mt.system.manifest import read_manifest
from rope_mt.training.checks import files_of
from rope_mt.training.module import loss_of
from rope_mt.translation import scoring
from rope_mt.translation.raw_text import scoring_warnings
from rope_mt.translation.scored_sets import translate_and_keep, translate_joined
from rope_mt.translation.translator import Translator


def score(path: Path) -> dict[str, Any]:
    """Average the last weights of a run, or take their moving average, and write the result of the run.

    Raises:
        UserError: a file of the run or of its text is gone or was changed.
    """
    run = RunFolder(path)
    about = read_manifest(run.identity, AGAIN)
    cfg, precision = from_plain(about["config"]), about["precision"]
    device = choose_device(cfg.trainer.device)
    last = checkpoint.latest(run)
    assert last is not None
    trained = checkpoint.training_state(last, AGAIN)
    report = trained["callbacks"]["Report"]
    final, weights = _final_weights(cfg, run, last)
    checkpoint.write(run.average, final)
    ckpt = checkpoint.read(run.average)
    translator = Translator.of(ckpt, cfg.search, device, precision)
    result = {
        "key": about["key"],
        "seed": cfg.seed,
        "position": cfg.position.name,
        "model": cfg.model.name,
        "data": cfg.data.name,
        "parameters": sum(p.numel() for p in translator.model.parameters()),
        "processes": about["processes"],
        "steps": ckpt.step,
        "ended_early": ckpt.step < cfg.trainer.max_steps,
        "weights": weights,
        "tokens_seen": trained["tokens_seen"],
        "skipped_updates": report["skipped"] + report["interval"]["skipped"],
        "training_seconds": report["training_seconds"],
        "validation_seconds": report["validation_seconds"],
        "tokens_per_second": trained["tokens_seen"] / report["training_seconds"],
        **_scores(cfg, run, about, translator),
        "device": describe(device),
        "precision": precision,
        "text": about["text"],
        "command": about["command"],
        **provenance(),
        "code": about["code"],
        "changed_code": about["changed_code"],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_result(run, result)
    return result


def _final_weights(cfg: TrainConfig, run: RunFolder, last: Path) -> tuple[Checkpoint, str]:
    """The weights that are scored, and what they are.

    Raises:
        UserError: a checkpoint is gone; the mean of the others would be another run's.
    """
    if cfg.trainer.ema:
        return checkpoint.moving_average(last), "moving average"
    every, end = cfg.trainer.val_every, checkpoint.step_of(last)
    steps = sorted({*range(every, end + 1, every), end})[-cfg.trainer.average :]
    folders = [run.checkpoints / f"step-{step:07d}" for step in steps]
    if lost := [folder for folder in folders if not folder.is_dir()]:
        raise UserError(f"{lost[0]} is gone, and belongs to the weights that are averaged: {AGAIN}")
    averaged = checkpoint.average(folders, AGAIN)
    return averaged, "last weights" if len(folders) == 1 else f"mean of {len(folders)} checkpoints"


def _scores(cfg: TrainConfig, run: RunFolder, about: dict[str, Any], translator: Translator) -> dict[str, Any]:
    """Translate the validation set and all test sets, and score the translations."""
    began, n = time.perf_counter(), cfg.trainer.test_sentences
    files = files_of(about)
    src, ref = text.read_test_set(files["valid"])
    valid = scoring.score(translator.translate(src[:n], name="valid"), ref[:n])
    test_set = text.read_test_set([(run.test_src, run.test_ref)])
    of_documents = text.document_numbers(files["test"])[:n]
    hypotheses, test = translate_and_keep(run, "test", translator, *test_set, documents=of_documents)
    further: dict[str, Any] = {}
    for name in about["further_tests"]:
        of_documents = text.document_numbers(files[name])[:n]
        sources, references = text.read_test_set(files[name])
        kept = translate_and_keep(run, name, translator, sources[:n], references[:n], documents=of_documents)
        further[name] = kept[1]
    for k in cfg.data.joined_tests:
        further[JOINED.format(k)] = translate_joined(run, k, translator, *test_set)
    refs, langs = test_set[1], (cfg.data.src_lang, cfg.data.tgt_lang)
    warnings = warnings_about([(run.test_src, run.test_ref)], translator.tokenizer, *langs)
    others = {}
    for variant in scoring.variants(hypotheses, refs, cfg.data.tgt_lang):
        others[variant.name] = {"value": variant.value, "signature": variant.signature, "label": variant.label}
    return {
        "test_set": name_of_test_set(refs),
        "valid": {"loss": validation_loss(cfg, translator, src, ref), **asdict(valid)},
        "test": {**test, "variants": others, "doubts": warnings + scoring_warnings(hypotheses, refs)},
        "further_tests": further,
        "search": {"beam": cfg.search.beam, "length_penalty": cfg.search.length_penalty, "sentences": n},
        "scoring_seconds": time.perf_counter() - began,
    }


@torch.inference_mode()
def validation_loss(cfg: TrainConfig, translator: Translator, src: list[str], ref: list[str]) -> float:
    """Nats per target token of the validation set, without label smoothing."""
    model, nats, tokens = translator.model, 0.0, 0
    device = model.embedding.weight.device
    model.eval()
    with computing_in(translator.precision, device):
        for batch in validation_batches(cfg.data, translator.tokenizer, src, ref):
            batch = Batch(*(part.to(device) for part in batch))
            nats += float(loss_of(model, batch, smoothing=0.0)) * batch.n_tokens
            tokens += batch.n_tokens
    return nats / tokens


def track_result(cfg: TrainConfig, run: RunFolder, result: dict[str, Any], tracker: Tracker) -> None:
    """Tell W&B the scores, the translations of the test set, and if asked for the files."""
    tests = {"test": result["test"], **result["further_tests"]}
    names = ("loss", "bleu", "bleu_signature", "chrf")
    tracker.summarize(
        {f"{test}/{name}": of[name] for test, of in tests.items() for name in names if name in (of or {})}
    )
    src, hypotheses = text.read_test_set([(run.test_src, run.test_hyp)])
    _, ref = text.read_test_set([(run.test_src, run.test_ref)])
    tracker.log_translations("test/translations", list(zip(src, ref, hypotheses, strict=True)))
    if cfg.tracking.artifacts:
        tracker.keep(run.average, "model")
        tracker.keep(run.test_hyp, "hypotheses")
