"""The flags of ls, compare, analyze and export: a comment gives the meaning of each, and rope_mt/cli/flags.py reads it.

Nothing here imports OmegaConf, which takes longer than their help.
"""

import argparse
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from rope_mt.system.files import expanded


def path(word: str) -> Path:
    return Path(expanded(word))


def rising(word: str) -> list[int]:
    """Read a list of rising numbers such as 10,20,30."""
    numbers = [int(number) if number.strip().isdecimal() else 0 for number in word.split(",")]
    if numbers[0] < 1 or any(a >= b for a, b in pairwise(numbers)):
        raise argparse.ArgumentTypeError(f"{word!r} is not a list of rising numbers, as in 10,20,30")
    return numbers


def ending(suffix: str) -> Callable[[str], Path]:
    def read(word: str) -> Path:
        if Path(word).suffix != suffix:
            raise argparse.ArgumentTypeError(f"{word!r} does not end in {suffix}")
        return path(word)

    return read


def stem(word: str) -> Path:
    """Read OUT of a command that writes OUT.csv and OUT.png; the name of either file means both."""
    out = path(word)
    return out.with_suffix("") if out.suffix in (".csv", ".png") else out


def flag(default: Any, read: Callable[[str], Any], metavar: str | None = None, **arguments: Any) -> Any:
    """A field with more arguments of argparse; with `nargs` it is a word of the command line without a name."""
    metadata = {"type": read, "metavar": metavar, **arguments}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class LsConfig:
    """The runs in a folder: how far each is, its score, size and code."""

    # run folders, or a folder of them (default: outputs)
    folders: list[Path] = flag([Path("outputs")], path, "FOLDER", nargs="*")
    prune: bool = False  # offer to remove the checkpoints of finished runs but their averaged weights; results stay


@dataclass(kw_only=True)
class CompareConfig:
    """Finished runs, a row for those that differ in nothing but their seed: means and standard deviations, and whether
    a difference from the baseline is more than chance.
    """

    runs: list[Path] = flag(MISSING, path, "RUN", nargs="+")  # a run folder, as in outputs/*
    # the scheme or row that the others are tested against (default: sinusoidal-add, or else the first)
    baseline: str | None = flag(None, str, "SCHEME")
    # the longest source of each bucket but the last, in tokens (default: multiples of data.max_len where the test set
    # goes beyond it, else 10,20,30,40,50,60); no part of --runs
    buckets: list[int] | None = flag(None, rising, "N,N,...")
    form: str = "table"  # one of FORMS, which are flags of their own
    # also draw the intervals, or BLEU of each seed where there are none
    plot: Path | None = flag(None, ending(".png"), "FILE.png")
    # also write a report to read in a browser: tables, curves, translations, configuration
    html: Path | None = flag(None, ending(".html"), "FILE.html")


FORMS = {
    "runs": "a row a run, and no tests",
    "json": "print one JSON object and nothing else",
    "csv": "print CSV: the groups, and after them the runs",
    "markdown": "print tables as GitHub reads them",
}


@dataclass(kw_only=True)
class AnalyzeDecayConfig:
    """How attention falls with distance: RoFormer's bound of section 3.4.3, and the weights of a trained model."""

    # a run folder or a checkpoint: its d_head and theta, and its attention weights by distance
    run: Path | None = flag(None, path, "RUN", nargs="?")
    d: int | None = flag(None, int)  # features of a head (default: the run's, or 128)
    theta: float | None = flag(None, float)  # base of the angles, eq. 15 (default: the run's, or 10000)
    longest: int = flag(256, int)  # distance in tokens (default: %(default)s)
    sentences: int = flag(200, int)  # of the run's test set (default: %(default)s)
    out: Path = flag(Path("outputs/decay"), stem, "OUT")  # what files' names begin with (default: %(default)s)


@dataclass(kw_only=True)
class AnalyzeLengthsConfig:
    """Translation quality by the length of the sentence."""

    runs: list[Path] = flag(MISSING, path, "RUN", nargs="+")  # a run folder, as in outputs/*
    # the longest source of each bucket but the last, in tokens (default: multiples of data.max_len where the test set
    # goes beyond it, else 10,20,30,40,50,60)
    buckets: list[int] | None = flag(None, rising, "N,N,...")
    # how many consecutive test sentences to join, what is left over at the end left out (default: 1,2,4,8);
    # translations stay in the run folder as test-joined-N.hyp
    joined: list[int] = flag([1, 2, 4, 8], rising, "N,N,...")
    # instead measure the loss by target position (teacher forcing), and chrF of hypotheses that are as long as their
    # reference, on documents joined up to 1, 2 and 4 times data.max_len: neither depends on when a model stops
    forced: bool = False
    out: Path = flag(Path("outputs/lengths"), stem, "OUT")  # what files' names begin with (default: %(default)s)


@dataclass(kw_only=True)
class AnalyzeConvergenceConfig:
    """Validation loss against tokens seen: RoFormer's figure 3."""

    runs: list[Path] = flag(MISSING, path, "RUN", nargs="+")  # a run folder, as in outputs/*
    # the run whose last loss the others are to reach (default: the first with sinusoidal-add, or else of all)
    baseline: Path | None = flag(None, path, "RUN")
    out: Path = flag(Path("outputs/convergence"), stem, "OUT")  # what files' names begin with (default: %(default)s)


@dataclass(kw_only=True)
class ExportConfig:
    """Write a trained model for other programs into a new folder."""

    checkpoint: Path = flag(MISSING, path, "CHECKPOINT", nargs=None)  # a run folder or one checkpoint
    # ctranslate2: a translator that needs no PyTorch and computes in int8 if wanted; safetensors: weights, settings and
    # vocabulary, which translate and eval read as they do a run
    to: str = flag(MISSING, str, choices=("ctranslate2", "safetensors"))
    out: Path | None = flag(None, path, "FOLDER")  # default: export-FORMAT in the run folder
