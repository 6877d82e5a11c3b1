"""`rope-mt analyze SUBJECT ...`: what finished runs have to say beyond their scores. Each subject is a module here."""

from importlib import import_module

from rope_mt.cli.flags import Parser

SUBJECTS = {
    "decay": "how attention falls with distance: RoFormer's bound of section 3.4.3, and the weights of a trained model",
    "lengths": "translation quality by the length of the sentence",
    "convergence": "validation loss against tokens seen: RoFormer's figure 3",
}


def main(arguments: list[str]) -> int:
    """Run the subject that `arguments` name; modules of others are not imported, since some of them are heavy."""
    parser = Parser(prog="rope-mt analyze", description="What finished runs have to say beyond their scores.")
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    named = {}
    for name, does in SUBJECTS.items():
        subject = subjects.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        if name in arguments:
            named[name] = import_module(f"rope_mt.study.analyze.{name}")
            named[name].add_arguments(subject)
    args = parser.parse_args(arguments)
    return named[args.subject].main(args)
