"""What `rope-mt COMMAND --help` prints where Hydra reads the settings: each with its value and its meaning."""

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rope_mt.config.choices import comment, groups, options
from rope_mt.config.files import conf_dir
from rope_mt.config.meanings import meanings

WIDTH, COLUMN, LONGEST = 80, 30, 50  # characters of a line, before the meaning, and of a value

FLAGS = {
    "-m": "one job for each choice, as in -m seed=1,2",
    "--cfg job": "print the whole configuration as YAML, and do nothing",
    "--dry-run": "say what train would do, and write nothing",
    "--config-dir FOLDER": "more files to choose from, as FOLDER/experiment/mine.yaml",
    "--hydra-help": "all other flags",
}


def bench_help() -> str:
    lines = [_entry(subject, does) for subject, does in options("bench").items()]
    return "\n".join(["rope-mt bench SUBJECT", *lines, "", "Every setting: rope-mt bench SUBJECT --help"])


def command_help(config: str, cfg: DictConfig, more: str | None) -> str:
    """The help of a command, or of `bench/SUBJECT`.

    Args:
        cfg: the composed configuration, whose values are shown.
        more: the user's own folder of configuration files, if there is one.
    """
    title = f"rope-mt {config.replace('/', ' ')}: {comment(conf_dir() / f'{config}.yaml')}"
    parts = ["\n".join(fill(line, WIDTH) for line in title.splitlines())]
    folders = [conf_dir(), *([Path(more)] if more else [])]
    lines = ["Groups to choose from, as in GROUP=OPTION"]
    for group in sorted(groups(config)):
        names = sorted(file.stem for folder in folders for file in (folder / group).glob("*.yaml"))
        lines.append(_entry(f"{group}:", ", ".join(names)))
    parts.append("\n".join(lines))
    parts += _sections(cfg, "")
    flags = (flag for flag in FLAGS.items() if config == "train" or flag[0] != "--dry-run")
    parts.append("\n".join(["Flags", *(_entry(*flag) for flag in flags)]))
    return "\n\n".join(parts)


def _sections(cfg: DictConfig, group: str) -> Iterator[str]:
    """The settings of a group by themselves, and then each group inside of it."""
    schema = OmegaConf.get_type(cfg)
    assert schema is not None
    about = (schema.__doc__ or "").partition("\n")[0]
    about = "" if about.startswith(f"{schema.__name__}(") else about  # which dataclass writes where there is no text
    title = f"{group}: {about}" if about and group else group or "general"
    meaning = meanings(schema)
    lines, inner = [fill(title, WIDTH)], []
    for key in cfg:
        name = f"{group}.{key}" if group else str(key)
        value = _value(cfg, str(key))
        if isinstance(value, DictConfig):
            inner.append((value, name))
        else:
            lines.append(_entry(f"{name}={_shown(value)}", meaning[str(key)]))
    if len(lines) > 1:
        yield "\n".join(lines)
    for value, name in inner:
        yield from _sections(value, name)


def _value(cfg: DictConfig, key: str) -> Any:
    try:
        return cfg[key]
    except OmegaConfBaseException:  # ???, which must be given, or an interpolation that means nothing yet
        plain: Any = OmegaConf.to_container(cfg, resolve=False)
        return plain[key]


def _shown(value: Any) -> str:
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    text = plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":")).replace('"', "")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _entry(name: str, meaning: str) -> str:
    """A name and its meaning in two columns, or below each other where the name is long."""
    indent = " " * COLUMN
    if len(name) + 4 > COLUMN:
        return f"  {name}\n{fill(meaning, WIDTH, initial_indent=indent, subsequent_indent=indent)}"
    return fill(meaning, WIDTH, initial_indent=f"  {name}".ljust(COLUMN), subsequent_indent=indent)
