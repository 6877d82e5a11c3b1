"""argparse for the commands that read run folders."""

import argparse
from itertools import pairwise
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
