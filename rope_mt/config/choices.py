"""What conf/ offers each command: the schema of its settings, and the groups and files that it chooses from."""

from functools import cache
from itertools import takewhile
from pathlib import Path

from rope_mt.config.files import conf_dir


def command_schema(command: str) -> type:
    """The dataclass that a command's settings are checked against; tells Hydra all of them on the way.

    Here and below `bench/SUBJECT` is a command too, and `bench` alone has what all subjects have.
    """
    from rope_mt.config.commands import SCHEMAS, register

    register()
    return SCHEMAS[command]


@cache
def groups(command: str) -> set[str]:
    """The groups that a command chooses from: those of its defaults list, and of its subject's or every subject's."""
    from omegaconf import OmegaConf

    root, _, subject = command.partition("/")
    files = [conf_dir() / f"{root}.yaml", *(conf_dir() / root).glob(f"{subject or '*'}.yaml")]
    defaults = [entry for file in files for entry in OmegaConf.load(file).defaults]
    names = {group.lstrip("/") for entry in defaults if OmegaConf.is_dict(entry) for group in entry}
    return {name for name in names if (conf_dir() / name).is_dir()}


def options(group: str) -> dict[str, str]:
    """The files of a group, and the first line that each says of itself."""
    return {file.stem: comment(file).partition("\n")[0] for file in sorted((conf_dir() / group).glob("*.yaml"))}


def comment(file: Path) -> str:
    """The lines of comment that a YAML file opens with, without the one that tells Hydra the package."""
    lines = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    return "\n".join(line[2:] for line in lines if not line.startswith("# @package"))
