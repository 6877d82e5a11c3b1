"""Records of finished runs that are kept apart, as beside the code: what they computed need not be computed again."""

from pathlib import Path

from rope_mt.config.commands import TrainConfig
from rope_mt.config.plain import from_plain, identity
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.seal import read_result
from rope_mt.sealed import read_yaml


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
            of_record = read_result(run)
            computed_with = [of_record[name] for name in ("precision", "text", "processes")]
            theirs = identity(from_plain(read_yaml(run.config)))
        except (ValueError, LookupError, UserError) as error:
            raise UserError(f"sweep.published: {run.path} is damaged: {error}") from error
        if computed_with == [precision, fingerprints, processes] and theirs == identity(cfg):
            return run
    return None
