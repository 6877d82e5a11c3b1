"""Equal tuning: of the runs of a sweep the best settings of each scheme, in a file that a comparison reads."""

import sys
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from rope_mt.config.files import read_yaml
from rope_mt.config.plain import from_plain
from rope_mt.data import text
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import AGAIN, RunFolder
from rope_mt.runs.result import read_result
from rope_mt.system.device import choose_device
from rope_mt.system.files import write_whole
from rope_mt.system.manifest import read_manifest
from rope_mt.training.checks import files_of
from rope_mt.translation.sentence_statistics import SentenceStatistics
from rope_mt.translation.translator import Translator

PENALTIES = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8)


def tune(runs: list[Path], file: Path) -> dict[str, dict[str, float]]:
    """Choose the settings of each scheme by the validation set, and write them to a YAML file.

    Learning rate and dropout are those of the run with the lowest validation loss. Other schemes stay in the file. One
    of which all runs diverged has no choices there, and a line on standard error.

    Returns:
        The choices of each scheme, with its validation loss and length ratio.

    Raises:
        UserError: a run has no weights, or the file cannot be read or written.
    """
    finite: dict[str, list[tuple[float, Path]]] = {}  # by scheme
    for path in runs:
        result = read_result(RunFolder(path))
        of_scheme = finite.setdefault(result["position"], [])
        if result["valid"]["loss"] is not None:
            of_scheme.append((result["valid"]["loss"], path))
    chosen = {scheme: _choices(*min(of_scheme)) for scheme, of_scheme in finite.items() if of_scheme}
    for scheme in sorted(finite.keys() - chosen.keys()):
        print(f"rope-mt: {scheme}: no run has a finite validation loss", file=sys.stderr)
    before = read_yaml(file) if file.is_file() else {}
    others = {scheme: old for scheme, old in before.items() if scheme not in finite}
    write_whole(file, OmegaConf.to_yaml(OmegaConf.create({**others, **chosen})))
    return chosen


def _choices(loss: float, path: Path) -> dict[str, float]:
    run = RunFolder(path)
    about = read_manifest(run.identity, AGAIN)
    cfg = from_plain(about["config"])
    src, ref = text.read_test_set(files_of(about)["valid"])
    src, ref = src[: cfg.trainer.val_sentences], ref[: cfg.trainer.val_sentences]
    device = choose_device(cfg.trainer.device)
    translator = Translator.of(checkpoint.load(path), cfg.search, device, about["precision"])
    ratios = {}
    for penalty in PENALTIES:
        translator.search = replace(cfg.search, length_penalty=penalty)
        hypotheses = translator.translate(src, name=f"validation set, length penalty {penalty}")
        ratios[penalty] = SentenceStatistics.of([0] * len(src), hypotheses, ref).score("length ratio")
    nearest = min(ratios, key=lambda penalty: abs(ratios[penalty] - 1))
    return {
        "lr": cfg.optimizer.lr,
        "dropout": cfg.model.dropout,
        "length_penalty": nearest,
        "valid_loss": round(loss, 4),
        "length_ratio": round(ratios[nearest], 4),
    }
