"""What conf/ offers each command: the schema of its settings, the groups it chooses from, and what `bench` measures."""

from rope_mt.config.files import conf_dir


def command_schema(command: str) -> type:
    """The dataclass that a command's settings are checked against; tells Hydra all of them on the way.

    Here and below `bench/SUBJECT` is a command too, and `bench` alone has what all subjects have.
    """
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from rope_mt.config.commands import register

    register()
    schema = OmegaConf.get_type(ConfigStore.instance().load(f"schema/{command}.yaml").node)
    assert schema is not None
    return schema


def groups(command: str) -> set[str]:
    """The groups that a command chooses from: those of its defaults list, and of its subject's or every subject's."""
    from omegaconf import OmegaConf

    root, _, subject = command.partition("/")
    files = [conf_dir() / f"{root}.yaml", *(conf_dir() / root).glob(f"{subject or '*'}.yaml")]
    defaults = [entry for file in files for entry in OmegaConf.load(file).defaults]
    return {group.lstrip("/") for entry in defaults if OmegaConf.is_dict(entry) for group in entry}


def foreign_groups(command: str) -> set[str]:
    """The groups of conf/ that only other commands choose from."""
    return {"schema", *(folder.name for folder in conf_dir().iterdir() if folder.is_dir())} - groups(command)


def subjects() -> dict[str, str]:
    """What `bench` can measure: each file of conf/bench/, and the comment in its second line."""
    files = sorted((conf_dir() / "bench").glob("*.yaml"))
    return {file.stem: file.read_text(encoding="utf-8").splitlines()[1].lstrip("# ") for file in files}
