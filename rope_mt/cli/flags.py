"""argparse for the commands that read run folders."""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from rope_mt.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse, complaining as the rest of rope-mt does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help says more)")


def rising(given: str) -> list[int]:
    """The numbers of a flag such as 10,20,30.

    Raises:
        argparse.ArgumentTypeError: they do not rise from 1 or more.
    """
    numbers = [int(number) if number.strip().isdecimal() else 0 for number in given.split(",")]
    if numbers[0] < 1 or any(a >= b for a, b in pairwise(numbers)):
        raise argparse.ArgumentTypeError(f"{given!r} is not a list of rising numbers, as in 10,20,30")
    return numbers


def add_out(parser: argparse.ArgumentParser, default: str) -> None:
    """--out, for a command that writes OUT.csv and OUT.png; who names one of them means both."""
    said = "what files' names begin with (default: %(default)s)"
    parser.add_argument("--out", type=_without_ending, default=Path(default), help=said)


def _without_ending(given: str) -> Path:
    path = Path(given)
    return path.with_suffix("") if path.suffix in (".csv", ".png") else path
