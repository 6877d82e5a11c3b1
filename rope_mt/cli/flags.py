"""The commands whose words argparse reads: ls, compare, analyze and export; rope_mt/config/flags.py has their flags."""

import argparse
from dataclasses import MISSING, fields
from typing import Any, NoReturn

from rope_mt.config import flags
from rope_mt.config.meanings import meanings
from rope_mt.errors import UserError

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
            parser.add_argument(name, default=default, **how)
        else:
            parser.add_argument(f"--{name}", required=default is MISSING, default=default, **how)
