"""Records of finished runs that are kept apart, as beside the code: what they computed need not be computed again."""

import json
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rope_mt.config.commands import TrainConfig
from rope_mt.config.plain import from_plain, identity
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder


def published(cfg: TrainConfig, precision: str, fingerprints: dict[str, str], processes: int) -> RunFolder | None:
    """The record below `sweep.published` of the run that this configuration describes; None where there is none.

    Settings are compared one by one, and not by the key that a run began with: a setting that came later changes every
    key, and a record has the value that it was made with.

    Raises:
        UserError: the folder is not there, or a record in it is damaged.
    """
    assert cfg.sweep.published is not None
    folder = Path(cfg.sweep.published)
    if not folder.is_dir():
        raise UserError(f"sweep.published: there is no folder {folder}")
    for result in sorted(folder.glob("*/result.json")):
        run = RunFolder(result.parent)
        try:
            of_record = json.loads(result.read_text(encoding="utf-8"))
            computed_with = [of_record[name] for name in ("precision", "text", "processes")]
            settings = OmegaConf.to_container(OmegaConf.load(run.config))
            if not isinstance(settings, dict):
                raise TypeError("config.yaml is not that of a run")
            theirs = identity(from_plain({str(key): value for key, value in settings.items()}))
        except (OSError, ValueError, LookupError, TypeError, YAMLError, OmegaConfBaseException, UserError) as error:
            raise UserError(f"sweep.published: {run.path} is damaged: {str(error).splitlines()[0]}") from error
        if computed_with == [precision, fingerprints, processes] and theirs == identity(cfg):
            return run
    return None
