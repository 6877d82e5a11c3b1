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
    best: dict[str, tuple[float, Path]] = {}
    schemes = set()
    for path in runs:
        result = read_result(RunFolder(path))
        schemes.add(result["position"])
        loss = result["valid"]["loss"]
        if loss is not None and loss < best.get(result["position"], (float("inf"), path))[0]:
            best[result["position"]] = loss, path
    chosen = {scheme: _choices(loss, path) for scheme, (loss, path) in best.items()}
    for scheme in sorted(schemes - chosen.keys()):
        print(f"rope-mt: {scheme}: no run has a finite validation loss", file=sys.stderr)
    others = {
        scheme: old for scheme, old in (read_yaml(file) if file.is_file() else {}).items() if scheme not in schemes
    }
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
