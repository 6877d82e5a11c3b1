"""What would end a run after hours, found before it writes anything: text, lengths, and room on the disk."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.data import corpus, text
from rope_mt.data.batches import training_pairs
from rope_mt.data.checks import warnings_about
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.epoch import EpochPlan
from rope_mt.data.prepare import Prepared
from rope_mt.data.tokenizer import PAD, read
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer
from rope_mt.runs.folder import RunFolder
from rope_mt.system import disk, memory
from rope_mt.training.callbacks.checkpoints import RESUMABLE
from rope_mt.training.compiling import require_compiler
from rope_mt.translation.raw_text import require_raw_text

ANOTHER_DISK = "choose another disk with hydra.run.dir=FOLDER, of several runs hydra.sweep.dir and hydra.sweep.subdir"
MANIFEST_BYTES = 16_000


TestSets = dict[str, tuple[list[str], list[str]]]  # sources and references of valid, test and additional test sets


@dataclass(frozen=True)
class Checked:
    parameters: int
    bytes: int  # of the run's checkpoints when it has ended
    warnings: list[str]


def read_test_sets(cfg: TrainConfig, about: dict[str, Any]) -> TestSets:
    """Read validation and test sets, which can be refused before the training text is prepared for an hour.

    Args:
        about: see `begin`.

    Raises:
        UserError: references are not raw text, or the test set is too small to be joined.
    """
    sets: TestSets = {}
    for name, files in files_of(about).items():
        src, ref = text.read_test_set(files)
        n = None if name == "valid" else cfg.trainer.test_sentences
        sets[name] = src[:n], ref[:n]
        require_raw_text(sets[name][1], ", ".join(str(tgt) for _, tgt in files))
    lines = len(sets["test"][0])
    if too_few := [k for k in cfg.data.joined_tests if k > lines]:
        few = f"the test set has {lines} lines, too few to join {too_few[0]}"
        raise UserError(f"{few}: lower data.joined_tests")
    return sets


def steps_of(epochs: float, cfg: TrainConfig, prepared: Prepared, processes: int) -> int:
    """The updates that so many epochs take; an epoch counts as long as the first one."""
    pairs, cut = training_pairs(cfg.data, prepared, cfg.seed), (0, processes, cfg.trainer.accumulate)
    plan = EpochPlan(*pairs.lengths(), cfg.data.batch_tokens, cfg.data.max_len, cfg.seed, *cut)
    return max(1, round(epochs * len(plan) / cfg.trainer.accumulate))


def files_of(about: dict[str, Any]) -> dict[str, corpus.Files]:
    """The files of valid, test and additional test sets, as run.json names them."""
    sets = {"valid": about["valid"], "test": about["test"], **about["further_tests"]}
    return {name: [(Path(src), Path(tgt)) for src, tgt in pairs] for name, pairs in sets.items()}


def check(cfg: TrainConfig, run: RunFolder, about: dict[str, Any], prepared: Prepared, sets: TestSets) -> Checked:
    """Make batches once, as training will, and a model that has shapes and no numbers.

    Raises:
        UserError: the batches are too few, a sentence is longer than the positions of the model, or the disk has too
            little room.
    """
    if cfg.trainer.compile:
        require_compiler()
    files = files_of(about)
    data = TranslationData(cfg.data, prepared, files["valid"], cfg.seed, 0, about["processes"], cfg.trainer.accumulate)
    data.plan.batches()
    longest = max(len(ids) for src, _ in sets.values() for ids in read(data.tokenizer, src).ids)
    longest_ref = max(len(ids) for ids in read(data.tokenizer, sets["valid"][1]).ids)
    shapes_of(cfg, len(data.tokenizer), n_layers=1).check_length(max(longest, longest_ref))
    if cfg.positions.eval == "random" and longest + 1 > cfg.positions.reach:
        most = f"{longest + 1:,} tokens, and positions.reach={cfg.positions.reach:,} gives positions to no more"
        raise UserError(f"a source of validation or test has {most}: raise it, or take positions.eval=consecutive")
    parameters = parameters_of(cfg, len(data.tokenizer))
    weights = 4 * parameters + len(data.tokenizer.model) + MANIFEST_BYTES
    at_end, at_most = room(cfg, weights)
    disk.ensure("this run", run.checkpoints, at_most, ANOTHER_DISK)
    warnings = []
    examples, kept = len(data.plan.src), len(data.plan.rows)
    if kept < examples:
        longer = f"have more than data.max_len={cfg.data.max_len} tokens a side"
        warnings.append(f"{examples - kept:,} of {examples:,} training pairs {longer}, and are left out")
    for name, pairs in files.items():
        warnings += warnings_about(pairs, data.tokenizer, cfg.data.src_lang, cfg.data.tgt_lang, name == "valid")
    return Checked(parameters, at_end, warnings)


def refuse_too_large(cfg: TrainConfig) -> None:
    """Raise a UserError if the weights of the model alone are larger than the memory of this machine."""
    parameters, there = parameters_of(cfg, cfg.data.vocab_size), memory.of_machine()
    if 4 * parameters > there:
        needed = f"the weights of {parameters:,} parameters take {disk.size_text(4 * parameters)}"
        raise UserError(f"{needed}, and this machine has {disk.size_text(there)} of memory: choose a smaller model")


def shapes_of(cfg: TrainConfig, vocab_size: int, n_layers: int) -> Transformer:
    """The model with so many layers, on torch's device for tensors without numbers."""
    with torch.device("meta"):
        return Transformer(replace(cfg.model, n_layers=n_layers), cfg.position, vocab_size, PAD)


def parameters_of(cfg: TrainConfig, vocab_size: int) -> int:
    """The number of parameters, in no time for any number of layers: they are alike."""
    one, two = (sum(p.numel() for p in shapes_of(cfg, vocab_size, n).parameters()) for n in (1, 2))
    return one + (cfg.model.n_layers - 1) * (two - one)


def room(cfg: TrainConfig, weights: int) -> tuple[int, int]:
    """Bytes of all checkpoints of a run when it has ended, and when they take the most.

    Args:
        weights: bytes of a checkpoint with weights alone. The state of training is at most two numbers a weight, and
            one more for `trainer.ema`.
    """
    trainer, state = cfg.trainer, weights * (3 if cfg.trainer.ema else 2)
    validations = -(-trainer.max_steps // trainer.val_every)

    def taken(more: int) -> int:
        """The best checkpoint and those of steps; `more` are there while another is written before the oldest goes."""
        n_weights, n_resumable = (min(validations, kept + more) for kept in (trainer.average, RESUMABLE))
        return (max(n_weights, n_resumable) + 1) * weights + n_resumable * state

    at_end = taken(0) + weights  # average
    return at_end, max(at_end, taken(1) + weights)  # while a better best is written, there are two
