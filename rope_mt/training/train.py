"""`rope-mt train`: from a configuration to scores, in one function that reads like the story of a run."""

import logging
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from rich.console import Console
from rich.text import Text

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import JOINED
from rope_mt.config.plain import to_plain
from rope_mt.data import corpus, text
from rope_mt.data.checks import name_of_test_set, warnings_about
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare
from rope_mt.data.tokenizer import read
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import AGAIN, RunFolder, begin, default_folder, open_run, provenance, run_hash
from rope_mt.runs.published import publish, published, record_of
from rope_mt.runs.result import REMEDY, read_result, write_result
from rope_mt.runs.selection import latest, weights_of
from rope_mt.runs.tracking import track
from rope_mt.system import disk
from rope_mt.system.device import choose_device, choose_precision, describe
from rope_mt.system.locks import alone
from rope_mt.system.memory import short_of_memory
from rope_mt.system.progress import output
from rope_mt.training.callbacks.checkpoints import Checkpoints, WholeFiles, room
from rope_mt.training.callbacks.interruption import Interruption
from rope_mt.training.callbacks.moving_average import MovingAverage
from rope_mt.training.callbacks.report import Report
from rope_mt.training.callbacks.skipping import Skipping
from rope_mt.training.module import TranslationModule
from rope_mt.training.processes import Processes, together
from rope_mt.training.screens import conclude, introduce
from rope_mt.translation.raw_text import require_raw_text, scoring_warnings
from rope_mt.translation.scoring import variants
from rope_mt.translation.test_sets import score_translations, translate_and_keep, translate_joined
from rope_mt.translation.translator import Translator

ANOTHER_DISK = "choose another disk with hydra.run.dir=FOLDER, of several runs hydra.sweep.dir and hydra.sweep.subdir"


def train(
    cfg: TrainConfig, folder: Path | None = None, opened: Callable[[RunFolder], None] = lambda run: None
) -> float:
    """Train one model, or go on with it, or find it trained; return its BLEU on the whole validation set.

    Args:
        folder: where the run lies; None names it after what it computes.
        opened: told by the first process where the run is, before anything there is touched.

    Raises:
        UserError: the configuration, the text or a folder does not allow it.
    """
    with together(cfg.trainer.device) as processes, ExitStack() as kept:
        device = choose_device(cfg.trainer.device)
        precision = choose_precision(cfg.trainer.precision, device)
        console = output() if processes.first else Console(quiet=True)
        with processes.first_alone():  # a generated corpus is written here
            text_of = corpus.locate(cfg.data)
        key = run_hash(cfg, precision, text_of.fingerprints, processes.world)
        there = record = None
        if cfg.sweep.published:
            known = published(cfg, text_of.fingerprints, processes.world)
            if path := processes.first_says(str(known.path) if known else ""):
                there = RunFolder(Path(path))
                if cfg.overwrite:
                    raise UserError(f"{path} is published: leave out overwrite=true, or sweep.published")
            else:
                record = record_of(cfg, key)
        run = there or RunFolder(folder or default_folder(cfg, key))
        if processes.first:
            opened(run)
            if not there:
                if cfg.overwrite or not run.result.is_file():  # what is finished may lie where nobody can write
                    kept.enter_context(alone(run.lock, f"training {run.path}"))
                open_run(run, cfg, key)
        processes.wait()
        if not (there or run.checkpoints.is_dir()):
            raise UserError(f"{run.path} is not here, where the first process has made it: machines must share folders")
        processes.wait()
        if run.result.is_file() and (there or not cfg.overwrite):
            state = "published" if there else "finished; overwrite=true would start again"
            console.print(Text(f"{run.path} is {state}."), soft_wrap=True)
        else:
            _compute(cfg, run, key, text_of, device.type, precision, processes, console)
        processes.wait()
    result = read_result(run)
    try:
        conclude(result, run, console)
        bleu = float(result["valid"]["bleu"])
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{run.result} is not the result of a run: {REMEDY}") from error
    if record and processes.first:
        publish(run, record)
        console.print(Text(f"published {record.path}"), soft_wrap=True)
    return bleu


def _compute(
    cfg: TrainConfig,
    run: RunFolder,
    key: str,
    text_of: corpus.Corpus,
    device: str,
    precision: str,
    processes: Processes,
    console: Console,
) -> None:
    """Train and score one run, and write its result; what was done before an interruption is not done again."""
    for files in (text_of.valid, text_of.test, *text_of.further_tests.values()):
        require_raw_text(text.read_test_set(files)[1], ", ".join(str(tgt) for _, tgt in files))
    test_set = text.read_test_set(text_of.test)
    if too_few := [k for k in cfg.data.joined_tests if k > len(test_set[0])]:
        few = f"the test set has {len(test_set[0])} lines, too few to join {too_few[0]}"
        raise UserError(f"{few}: lower data.joined_tests")
    with processes.first_alone():
        prepared = prepare(cfg.data, text_of)
    further = {name: text.read_test_set(files) for name, files in text_of.further_tests.items()}
    _quieten_lightning()
    L.seed_everything(cfg.seed, verbose=False)
    data = TranslationData(
        cfg.data, prepared, text_of, cfg.seed, processes.rank, processes.world, cfg.trainer.accumulate
    )
    data.plan.batches()  # refused now, where they are too few
    with short_of_memory(lambda: "making the model: choose a smaller one"):
        module = TranslationModule(cfg, data, precision, processes)
    if module.model.max_len is not None:  # too long a sentence is refused now, rather than after the last step
        for side in (data.valid_src, data.valid_ref, test_set[0], *(src for src, _ in further.values())):
            module.model.check_length(max(map(len, read(data.tokenizer, side).ids)))
    with processes.first_alone():
        if processes.first:
            needed = room(run, module)[1]
            disk.ensure("this run", run.checkpoints, needed, ANOTHER_DISK)
            if cfg.overwrite or not run.identity.is_file():  # not before everything else that could refuse it
                begin(run, cfg, key, test_set)
    resume = latest(run)
    introduce(cfg, run, prepared, module, precision, processes, resume, console)
    if processes.first:
        tests = [(files, False) for files in (text_of.test, *text_of.further_tests.values())]
        for files, loss in [(text_of.valid, True), *tests]:
            for doubt in warnings_about(files, data.tokenizer, cfg.data.src_lang, cfg.data.tgt_lang, loss):
                console.print(Text(f"{'':<10}{doubt}", "yellow"), soft_wrap=True)
    tags = [cfg.position.name, cfg.model.name, cfg.data.name]
    checkpoints = Checkpoints(run, cfg.trainer.average)
    interruption = Interruption(checkpoints, processes, cfg.overwrite)
    averages = [MovingAverage(module, cfg.trainer.ema)] if cfg.trainer.ema else []
    callbacks: list[L.Callback] = [Skipping(run, cfg.trainer), checkpoints, *averages, interruption]
    if not processes.first:
        processes.wait()
        _fit(build_trainer(cfg, device, precision, callbacks, processes), module, data, resume, interruption)
        return
    with track(cfg.tracking, run.path, to_plain(cfg), tags=tags) as tracker:
        report = Report(run.metrics, tracker, console, cfg.trainer.log_every, cfg.trainer.max_steps)
        trainer = build_trainer(cfg, device, precision, [report, *callbacks], processes)
        processes.wait()  # who is in a step cannot be told that tracking has failed
        _fit(trainer, module, data, resume, interruption)
        result = {
            "key": key,
            "seed": cfg.seed,
            "position": cfg.position.name,
            "model": cfg.model.name,
            "data": cfg.data.name,
            "parameters": sum(p.numel() for p in module.parameters()),
            "processes": processes.world,
            "steps": trainer.global_step,
            "tokens_seen": module.tokens_seen,
            "skipped_updates": report.skipped,
            "training_seconds": report.training_seconds,
            "validation_seconds": report.validation_seconds,
            "tokens_per_second": module.tokens_seen / report.training_seconds,
            **_score(cfg, run, module.to(device), data, test_set, further, precision),
            "device": describe(choose_device(device)),
            "precision": precision,
            "text": text_of.fingerprints,
            **provenance(),
        }
        write_result(run, result)  # before what may wait for a server
        tests = {"test": result["test"], **result["further_tests"]}
        names = ("bleu", "bleu_signature", "chrf")
        tracker.summarize({f"{test}/{name}": of[name] for test, of in tests.items() if of for name in names})
        src, hypotheses = text.read_test_set([(run.test_src, run.test_hyp)])
        rows = list(zip(src, test_set[1], hypotheses, strict=True))
        tracker.log_translations("test/translations", rows, trainer.global_step)
        if cfg.tracking.artifacts:
            tracker.keep(run.average, "model")
            tracker.keep(run.test_hyp, "hypotheses")
    if tracker.where():
        console.print(Text(tracker.where(), "dim"), soft_wrap=True)


def _score(
    cfg: TrainConfig,
    run: RunFolder,
    module: TranslationModule,
    data: TranslationData,
    test_set: tuple[list[str], list[str]],
    further: dict[str, tuple[list[str], list[str]]],
    precision: str,
) -> dict[str, Any]:
    """Average the last weights, or take their moving average, translate validation and test sets, and score."""
    began = time.perf_counter()
    last = latest(run) if cfg.trainer.ema else None
    averaged = checkpoint.moving_average(last) if last else checkpoint.average(_to_average(cfg, run), AGAIN)
    checkpoint.write(run.average, averaged)
    module.model.load_state_dict(checkpoint.load(run.average).weights)
    module.translator = translator = Translator(module.model, data.tokenizer, cfg.search, precision)
    _, valid = score_translations(translator, data.valid_src, data.valid_ref)
    hypotheses, test = translate_and_keep(run, "test", translator, *test_set)
    of_further: dict[str, Any] = {
        name: translate_and_keep(run, name, translator, *of)[1].as_dict() for name, of in further.items()
    }
    for k in cfg.data.joined_tests:
        scores = translate_joined(run, k, translator, *test_set)
        of_further[JOINED.format(k)] = scores and scores.as_dict()
    refs = test_set[1]
    odd = warnings_about([(run.test_src, run.test_ref)], data.tokenizer, cfg.data.src_lang, cfg.data.tgt_lang)
    found = variants(hypotheses, refs, cfg.data.tgt_lang)
    others = {each.name: {"value": each.value, "signature": each.signature, "label": each.label} for each in found}
    return {
        "test_set": name_of_test_set(refs),
        "valid": {"loss": module.valid_loss(), **valid.as_dict()},
        "test": {**test.as_dict(), "variants": others, "doubts": odd + scoring_warnings(hypotheses, refs)},
        "further_tests": of_further,
        "search": {"beam": cfg.search.beam, "length_penalty": cfg.search.length_penalty},
        "scoring_seconds": time.perf_counter() - began,
    }


def _to_average(cfg: TrainConfig, run: RunFolder) -> list[Path]:
    """The files of the last weights that were saved.

    Raises:
        UserError: one is not there, and the mean of the others would be another run's.
    """
    steps = sorted(
        {*range(cfg.trainer.val_every, cfg.trainer.max_steps + 1, cfg.trainer.val_every), cfg.trainer.max_steps}
    )
    files = [weights_of(run, step) for step in steps[-cfg.trainer.average :]]
    if lost := [file for file in files if not file.is_file()]:
        raise UserError(f"{lost[0]} is not there any more, and belongs to the weights that are averaged: {AGAIN}")
    return files


def _fit(
    trainer: L.Trainer,
    module: TranslationModule,
    data: TranslationData,
    resume: Path | None,
    interruption: Interruption,
) -> None:
    with interruption.heeded(), short_of_memory(module.under_way):
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)


def build_trainer(
    cfg: TrainConfig, device: str, precision: str, callbacks: list[L.Callback], processes: Processes
) -> L.Trainer:
    """Lightning's loop as this project uses it: it steps, validates and restores; reports and files are ours."""
    trainer = L.Trainer(
        max_steps=cfg.trainer.max_steps,
        accumulate_grad_batches=cfg.trainer.accumulate,
        val_check_interval=cfg.trainer.val_every * cfg.trainer.accumulate,  # batches
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        accelerator={"cuda": "gpu"}.get(device, device),
        devices=processes.per_machine,
        num_nodes=processes.world // processes.per_machine,
        strategy="auto" if processes.world == 1 else "ddp",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        use_distributed_sampler=False,
        callbacks=callbacks,
        # told, as Lightning else takes a SLURM job's variables for its own, with or without torchrun
        plugins=[WholeFiles(), LightningEnvironment() if processes.world == 1 else TorchElasticEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # each step it would ask the device whether another process was told to end, which torchrun tells them all
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    # its own answer to SIGTERM saves nothing, and talks to other processes whatever they are in
    trainer._signal_connector.register_signal_handlers = lambda: None
    return trainer


def _quieten_lightning() -> None:
    """Lightning's advice about workers, its adverts and its device report: the first screen says what matters."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
