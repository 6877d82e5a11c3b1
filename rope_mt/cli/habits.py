"""Words that people know from other programs, answered with the words that mean the same here."""

import os
from itertools import zip_longest
from pathlib import Path

from rope_mt.cli.messages import did_you_mean, settings
from rope_mt.config.choices import groups, options

GO_ON = ("resume", "continue", "restore", "ckpt", "ckpt_path", "checkpoint", "resume_from_checkpoint")
SYNONYMS = {
    "batch_size": "data.batch_tokens",
    "fp16": "trainer.precision",
    "gpus": "trainer.devices",
    "learning_rate": "optimizer.lr",
    "lr": "optimizer.lr",
    "output_dir": "hydra.run.dir",
    "steps": "trainer.max_steps",
}


def instead_of_flag(flag: str, after: str, command: str, schema: type, flags: list[str]) -> str:
    """What to write instead of a flag that does not exist.

    Args:
        after: the word behind the flag.
        flags: the flags that do exist.
    """
    name, _, value = flag.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if command == "train" and name in GO_ON:
        return f"; the same command goes on with a run: leave out {flag}"
    if setting := _setting(name, command, schema):
        value = value or (after if after and "=" not in after and after[0] != "-" else "VALUE")
        return f": write {setting}={value}"
    return did_you_mean(flag, flags) or f"; rope-mt {command} --help lists them"


def instead_of_words(words: list[str], command: str, schema: type) -> str | None:
    """What to write instead of the first word that has no value, as in `train position rope`; None if each has one."""
    of = {name: group for group in groups(command) for name in options(group)}
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        if "=" in word or word[:1] in ("~", "+"):
            continue
        if (setting := _setting(word, command, schema)) and after and "=" not in after:
            return f"write {setting}={after}"
        if word in of:
            return f"write {of[word]}={word}"
    return None


def own_text(words: list[str]) -> str | None:
    """How to name a text of one's own where a path stands alone or behind `data=`; None where none does."""
    for word in words:
        if os.path.isfile(os.path.join(word, "run.json")):  # Path.is_file raises where a name is too long
            return f"{word} is a run: its own command goes on with it, and stands in {word}/run.json"
        if os.path.exists(word):
            return f"for text of your own write data=files data.train={word}"
        group, _, value = word.partition("=")
        if group == "data" and ("/" in value or os.path.isfile(value) or Path(value).suffix in (".tsv", ".txt")):
            return f"data= takes the name of a corpus; for text of your own write data=files data.train={value}"
    return None


def _setting(name: str, command: str, schema: type) -> str | None:
    """The group or setting that has this name, by itself or behind a dot, or that it is a synonym of."""
    if name in groups(command):
        return name
    known = [setting for setting in settings(schema) if not setting.startswith("data.recipe.")]
    if SYNONYMS.get(name) in known:
        return SYNONYMS[name]
    return next((setting for setting in known if name in (setting, setting.rpartition(".")[2])), None)
