"""The commands whose words argparse reads: ls, compare, analyze and export; rope_mt/config/flags.py has their flags."""

import argparse
from collections.abc import Callable
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, get_args

from rope_mt.config import flags
from rope_mt.config.meanings import meanings
from rope_mt.errors import UserError
from rope_mt.system.files import expanded

SUBJECTS = {
    "decay": flags.AnalyzeDecayConfig,
    "lengths": flags.AnalyzeLengthsConfig,
    "convergence": flags.AnalyzeConvergenceConfig,
}
COMMANDS = {"ls": flags.LsConfig, "compare": flags.CompareConfig, "analyze": SUBJECTS, "export": flags.ExportConfig}


class Parser(argparse.ArgumentParser):
    """argparse that complains as the rest of rope-mt does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help says more)")


def read_flags(command: str, words: list[str]) -> Any:
    """Make the dataclass of a command from the words after it.

    Raises:
        UserError: a flag or a value is wrong.
    """
    parser = Parser(prog=f"rope-mt {command}")
    if command == "analyze":
        parser.description = "What finished runs have to say beyond their scores."
        subjects = parser.add_subparsers(metavar="SUBJECT", required=True)
        for name, schema in SUBJECTS.items():
            text = (schema.__doc__ or "").removesuffix(".")
            add_flags(subjects.add_parser(name, help=text[0].lower() + text[1:]), schema)
    else:
        add_flags(parser, COMMANDS[command])
    values = vars(parser.parse_args(words))
    return values.pop("schema")(**values)


def add_flags(parser: argparse.ArgumentParser, schema: Any) -> None:
    """Add a flag, or a word without a name, for each field of a dataclass."""
    parser.description = schema.__doc__
    parser.set_defaults(schema=schema)
    texts = meanings(schema)
    for setting in fields(schema):
        name, how = setting.name, {"help": texts[setting.name], **setting.metadata}
        default = setting.default if setting.default_factory is MISSING else setting.default_factory()
        if name == "form":
            parser.set_defaults(form=default)
            forms = parser.add_mutually_exclusive_group()
            for form, text in flags.FORMS.items():
                forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=text)
        elif setting.type is bool:
            parser.add_argument(f"--{name}", action="store_true", **how)
        elif "nargs" in how:
            parser.add_argument(name, type=path, default=None if default is MISSING else default, **how)
        else:
            required = {"required": True} if default is MISSING else {"default": default}
            parser.add_argument(f"--{name}", type=reader(setting.type, how), **required, **how)


def reader(kind: Any, how: dict[str, Any]) -> Callable[[str], Any]:
    """The function that reads a value of this type; FILE.png in the help means a path that ends so."""
    kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind
    if kind == list[int]:
        how["metavar"] = "N,N,..."
        return rising
    if kind is not Path:
        return kind
    metavar = how["metavar"]
    return without_ending if metavar == "OUT" else ending(Path(metavar).suffix) if "." in metavar else path


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


def without_ending(word: str) -> Path:
    """Read OUT of a command that writes OUT.csv and OUT.png; the name of either file means both."""
    out = path(word)
    return out.with_suffix("") if out.suffix in (".csv", ".png") else out
