"""What a model knows beyond the lengths of training, apart from when it stops: the references are given to it.

The documents of the test set are joined as training examples are, to texts of at most 1, 2 and 4 times the longest side
in training. Of these a run has the loss of teacher forcing by target position, and chrF of hypotheses that have as many
tokens as their reference. Sums for each document stay in the run's folder, so that they outlive its weights.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from rope_mt.config.position import SCALINGS
from rope_mt.data.epoch import join
from rope_mt.data.tokenizer import LONGEST, read
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.system.device import choose_device, choose_precision
from rope_mt.system.manifest import read_manifest, write_manifest
from rope_mt.translation.scored_sets import own_test_set
from rope_mt.translation.sentence_statistics import CHRF_AT, COLUMNS, SentenceStatistics
from rope_mt.translation.translator import Translator

TIMES = (1, 2, 4)  # the longest side in training
PARTS = 4  # of that length, each with its loss
FACTORS = (2, 4)  # of scaling

Sums = dict[str, dict[str, list[list[float]]]]  # of one setting in tests: by TIMES, of the measures of each document


def other_settings(config: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Settings of `position` and `positions` in tests, by name. A run is judged with the first, which has no name.

    Runs with random positions are judged with random ones, as in Ruoss et al. 2023; rope is scaled without training.
    """
    if config["positions"]["name"] == "random":
        return {"": ({}, {"eval": "random"}), "consecutive in tests": ({}, {"eval": "consecutive"})}
    settings: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {"": ({}, {})}
    position = config["position"]
    if (position["name"], position.get("scaling"), config["positions"]["name"]) == ("rope", "none", "consecutive"):
        scaled = [(name, factor) for name in SCALINGS[1:] for factor in FACTORS]
        settings |= {f"{name} {factor}": ({"scaling": name, "factor": factor}, {}) for name, factor in scaled}
    return settings


def forced(run: FinishedRun) -> dict[str, Sums]:
    """The sums of a run by the names of `other_settings`, from its folder, or computed and kept there.

    A published record of the run gets a copy.

    Raises:
        UserError: there are neither sums nor weights, the text is gone, or the model's positions end before.
    """
    folder = RunFolder(run.folder)
    if folder.forced.is_file():
        kept = read_manifest(folder.forced, f"remove {folder.forced}")
        if kept.get("key") == run.result["key"]:
            return kept["sums"]
    if not folder.average.is_dir():
        raise UserError(f"{run.folder} has no weights for --forced: leave it out")
    sums = _computed(run)
    write_manifest(folder.forced, {"key": run.result["key"], "sums": sums})
    if published := run.config["sweep"]["published"]:
        record = RunFolder(Path(published) / run.folder.name)
        if record.result.is_file():
            shutil.copyfile(folder.forced, record.forced)
    return sums


def _computed(run: FinishedRun) -> dict[str, Sums]:
    ckpt = checkpoint.load(run.folder)
    src, ref = own_test_set(run.folder, ckpt)
    cap = run.config["data"]["max_len"]
    lengths = [np.array([len(ids) for ids in read(ckpt.tokenizer, side, LONGEST).ids]) for side in (src, ref)]
    documents = run.statistics().table[:, COLUMNS.index("document")].astype(np.int64)
    if len(np.unique(documents)) == len(documents):  # none are known: lines that follow each other stand for one
        firsts = _firsts(lengths, np.zeros_like(documents), TIMES[-1] * cap)
        documents = np.repeat(np.arange(len(firsts) - 1), np.diff(firsts))
    device = choose_device("auto")
    found: dict[str, Sums] = {}
    for name, (position, positions) in other_settings(run.config).items():
        config = replace(
            ckpt.config,
            position=replace(ckpt.config.position, **position),
            positions=replace(ckpt.config.positions, **positions),
        )
        precision = choose_precision(str(run.result["precision"]), device)
        translator = Translator.of(replace(ckpt, config=config), config.search, device, precision)
        if translator.longest < TIMES[-1] * cap:
            reach = f"{translator.longest} tokens, and --forced reads {TIMES[-1] * cap}"
            raise UserError(f"{run.folder} has positions for {reach}: leave it out")
        found[name] = {}
        for times in TIMES:
            print(f"{run.folder}: texts of at most {times * cap} tokens {name}".rstrip(), file=sys.stderr)
            texts = pieces(lengths, documents, times * cap)
            joined_src, joined_ref = ([" ".join(side[first:end]) for first, end in texts] for side in (src, ref))
            table = _by_text(translator, joined_src, joined_ref, cap, times, chrf=not name)
            sums = {kind: np.zeros((documents.max() + 1, rows.shape[1])) for kind, rows in table.items()}
            for kind, rows in table.items():
                np.add.at(sums[kind], documents[texts[:, 0]], rows)
            found[name][str(times)] = {kind: rows.round(3).tolist() for kind, rows in sums.items()}
    return found


def _firsts(lengths: list[np.ndarray], documents: np.ndarray, most: int) -> Integer[np.ndarray, " firsts"]:
    src, tgt = (np.concatenate(([0], side.cumsum())) for side in lengths)
    return join(src, tgt, np.diff(documents, prepend=-1) != 0, most)


def pieces(lengths: list[np.ndarray], documents: np.ndarray, most: int) -> Integer[np.ndarray, "texts 2"]:
    """The first sentence of each text of at most `most` tokens a side, and the one behind its last.

    Args:
        lengths: tokens of both sides of each sentence, without eos.
        documents: the number of each sentence's document.
    """
    firsts = _firsts(lengths, documents, most)
    fits = np.all([np.add.reduceat(side, firsts[:-1]) <= most for side in lengths], axis=0)
    return np.stack((firsts[:-1], firsts[1:]), axis=1)[fits]


def _by_text(
    translator: Translator, src: list[str], ref: list[str], cap: int, times: int, chrf: bool
) -> dict[str, Float[np.ndarray, "texts _"]]:
    """Nats and tokens of each text by PARTS of the cap in target position, and its sufficient statistics of chrF."""
    width = times * PARTS
    nats, tokens = np.zeros((len(ref), width)), np.zeros((len(ref), width))
    for text, losses in enumerate(translator.token_losses(src, ref, times * cap)):
        parts = np.minimum(np.arange(len(losses)) * PARTS // cap, width - 1)  # eos can be one token too far
        nats[text] = np.bincount(parts, losses.double().numpy(), width)
        tokens[text] = np.bincount(parts, minlength=width)
    table = {"nats": nats, "tokens": tokens}
    if chrf:
        src_ids, ref_ids = (read(translator.tokenizer, side, times * cap).ids for side in (src, ref))
        found = translator.hypotheses(src_ids, [len(ids) + 1 for ids in ref_ids])
        hypotheses = translator.decode([best[0].tokens if best else [] for best in found])
        table["chrf"] = SentenceStatistics.of([0] * len(ref), hypotheses, ref).table[:, CHRF_AT]
    return table
