"""The commands whose words argparse reads: ls, compare, analyze and export."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from rope_mt.config.flags import (
    AnalyzeConvergenceConfig,
    AnalyzeDecayConfig,
    AnalyzeLengthsConfig,
    CompareConfig,
    ExportConfig,
    LsConfig,
)
from rope_mt.errors import UserError

SUBJECTS = {
    "decay": "how attention falls with distance: RoFormer's bound of section 3.4.3, and the weights of a trained model",
    "lengths": "translation quality by the length of the sentence",
    "convergence": "validation loss against tokens seen: RoFormer's figure 3",
}


def read_flags(command: str, words: list[str]) -> Any:
    """Make the dataclass of a command from the words after it.

    Raises:
        UserError: a flag or a value is wrong.
    """
    parser = PARSERS[command]()
    args = vars(parser.parse_args(words))
    return args.pop("schema")(**args)


class Parser(argparse.ArgumentParser):
    """argparse that complains as the rest of rope-mt does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help says more)")


# ---- the parsers ----------------------------------------------------------------------------------------------------


def ls_parser() -> Parser:
    parser = Parser(prog="rope-mt ls", description="The runs in a folder: how far each is, its score, size and code.")
    parser.set_defaults(schema=LsConfig)
    folders = "run folders, or a folder of them (default: outputs)"
    parser.add_argument("folders", nargs="*", metavar="FOLDER", type=Path, default=[Path("outputs")], help=folders)
    prune = "offer to remove the checkpoints of finished runs but their averaged weights; results stay"
    parser.add_argument("--prune", action="store_true", help=prune)
    return parser


def compare_parser() -> Parser:
    parser = Parser(
        prog="rope-mt compare",
        description="Finished runs, a row for those that differ in nothing but their seed: means and standard "
        "deviations, and whether a difference from the baseline is more than chance.",
    )
    parser.set_defaults(schema=CompareConfig, form="table")
    _add_runs(parser)
    baseline = "the scheme or row that the others are tested against (default: sinusoidal-add, or else the first)"
    parser.add_argument("--baseline", metavar="SCHEME", help=baseline)
    _add_buckets(parser, "; no part of --runs")
    forms = parser.add_mutually_exclusive_group()
    for form, text in (
        ("runs", "a row a run, and no tests"),
        ("json", "print one JSON object and nothing else"),
        ("csv", "print CSV: the groups, and after them the runs"),
        ("markdown", "print tables as GitHub reads them"),
    ):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=text)
    plot = "also draw mean BLEU by scheme, with a dot for each seed"
    parser.add_argument("--plot", metavar="FILE.png", type=_ending(".png"), help=plot)
    html = "also write a report to read in a browser: tables, curves, translations, configuration"
    parser.add_argument("--html", metavar="FILE.html", type=_ending(".html"), help=html)
    return parser


def analyze_parser() -> Parser:
    parser = Parser(prog="rope-mt analyze", description="What finished runs have to say beyond their scores.")
    subjects = parser.add_subparsers(metavar="SUBJECT", required=True)
    add_flags = {"decay": _add_decay, "lengths": _add_lengths, "convergence": _add_convergence}
    for name, does in SUBJECTS.items():
        subject = subjects.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        add_flags[name](subject)
        subject.add_argument(
            "--out",
            type=_without_ending,
            default=Path(f"outputs/{name}"),
            help="what files' names begin with (default: %(default)s)",
        )
    return parser


def _add_decay(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(schema=AnalyzeDecayConfig)
    run = "a run folder or a checkpoint: its d_head and theta, and its attention weights by distance"
    parser.add_argument("run", nargs="?", metavar="RUN", type=Path, help=run)
    parser.add_argument("--d", type=int, help="features of a head (default: the run's, or 128)")
    parser.add_argument("--theta", type=float, help="base of the angles, eq. 15 (default: the run's, or 10000)")
    parser.add_argument("--longest", type=int, default=256, help="distance in tokens (default: %(default)s)")
    parser.add_argument("--sentences", type=int, default=200, help="of the run's test set (default: %(default)s)")


def _add_lengths(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(schema=AnalyzeLengthsConfig)
    _add_runs(parser)
    _add_buckets(parser)
    parser.add_argument(
        "--joined",
        type=_rising,
        default=[1, 2, 4, 8],
        metavar="N,N,...",
        help="how many consecutive test sentences to join, what is left over at the end left out (default: 1,2,4,8); "
        "translations stay in the run folder as test-joined-N.hyp",
    )


def _add_convergence(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(schema=AnalyzeConvergenceConfig)
    _add_runs(parser)
    baseline = (
        "the run whose last loss the others are to reach (default: the first with sinusoidal-add, or else of all)"
    )
    parser.add_argument("--baseline", metavar="RUN", type=Path, help=baseline)


def export_parser() -> Parser:
    parser = Parser(prog="rope-mt export", description="Write a trained model for other programs into a new folder.")
    parser.set_defaults(schema=ExportConfig)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a run folder or one checkpoint")
    parser.add_argument(
        "--to",
        required=True,
        choices=("ctranslate2", "safetensors"),
        help="ctranslate2: a translator that needs no PyTorch and computes in int8 if wanted; "
        "safetensors: weights, settings and vocabulary, which translate and eval read as they do a run",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="default: export-FORMAT in the run folder")
    return parser


PARSERS: dict[str, Callable[[], Parser]] = {
    "ls": ls_parser,
    "compare": compare_parser,
    "analyze": analyze_parser,
    "export": export_parser,
}


# ---- flags that several commands have, and their values -------------------------------------------------------------


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="a run folder, as in outputs/*")


def _add_buckets(parser: argparse.ArgumentParser, more: str = "") -> None:
    from rope_mt.study.compare.buckets import TENS

    text = (
        "the longest source of each bucket but the last, in tokens (default: multiples of data.max_len where the test "
        f"set goes beyond it, else {','.join(map(str, TENS))}){more}"
    )
    parser.add_argument("--buckets", type=_rising, metavar="N,N,...", help=text)


def _rising(given: str) -> list[int]:
    """Read a list of rising numbers such as 10,20,30."""
    numbers = [int(number) if number.strip().isdecimal() else 0 for number in given.split(",")]
    if numbers[0] < 1 or any(a >= b for a, b in pairwise(numbers)):
        raise argparse.ArgumentTypeError(f"{given!r} is not a list of rising numbers, as in 10,20,30")
    return numbers


def _ending(suffix: str) -> Callable[[str], Path]:
    def path(given: str) -> Path:
        if Path(given).suffix != suffix:
            raise argparse.ArgumentTypeError(f"{given!r} does not end in {suffix}")
        return Path(given)

    return path


def _without_ending(given: str) -> Path:
    """Read OUT of a command that writes OUT.csv and OUT.png; the name of either file means both."""
    path = Path(given)
    return path.with_suffix("") if path.suffix in (".csv", ".png") else path
