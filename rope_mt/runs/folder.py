"""A run folder: named after what it computes, so that the same command finds the same run again."""

import hashlib
import json
import os
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rope_mt import __version__
from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import JOINED
from rope_mt.config.plain import identity
from rope_mt.errors import UserError
from rope_mt.runs import code
from rope_mt.system.disk import writing
from rope_mt.system.files import empty_folder, remove_tree, write_whole
from rope_mt.system.manifest import read_manifest, write_manifest

TAIL = 300  # rows at the end of a metrics file, with a validation among them
LAST = ("step", "train/loss", "valid/loss", "valid/bleu")  # of a row, what `last_logged` returns
AGAIN = "start the run again with overwrite=true"


@dataclass
class RunFolder:
    """Where the files of a run are."""

    path: Path

    def __post_init__(self) -> None:
        self.config = self.path / "config.yaml"
        # all that training needs: settings, prepared text, precision; and the key, the versions, the W&B run
        self.identity = self.path / "run.json"
        self.lock = self.path / ".lock"  # locked by the training command; the file stays when the lock is gone
        self.metrics = self.path / "metrics.jsonl"
        self.result = self.path / "result.json"
        self.forced = self.path / "forced.json"  # loss by position, from `analyze lengths --forced`
        self.logs = self.path / "logs"  # a folder for each training process, with what it prints
        self.checkpoints = self.path / "checkpoints"
        self.average = self.checkpoints / "average"  # the weights that are scored
        self.test_src, self.test_ref, self.test_hyp = (self.path / f"test.{kind}" for kind in ("src", "ref", "hyp"))
        self.local_logs = [self.path / kind for kind in ("tensorboard", "csv")]
        self.began_with = (self.config, self.test_src, self.test_ref)  # run.json holds their checksums

    def is_scoring(self) -> bool:
        """Whether training has ended, and scoring has not: it begins with the average and ends with the result."""
        return self.average.is_dir() and not self.result.is_file()

    def hyp(self, test: str) -> Path:
        """The translations of a test set: `test`, or the name of an additional one."""
        return self.path / f"{test}.hyp"

    def counts(self, test: str) -> Path:
        """The sufficient statistics of the BLEU of these translations."""
        return self.path / f"{test}.counts"


def run_hash(cfg: TrainConfig, precision: str, fingerprints: dict[str, str], processes: int = 1) -> str:
    """Eight hex digits over all that changes the result: settings, resolved precision, processes, and the text."""
    what = {**identity(cfg), "precision": precision, "processes": processes, "text": fingerprints}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]


def default_folder(cfg: TrainConfig, key: str) -> Path:
    """`outputs/DATA-MODEL-POSITION-sSEED-KEY`, where a model with linear attention says so."""
    model = cfg.model.name if cfg.model.attention == "softmax" else f"{cfg.model.name}-{cfg.model.attention}"
    return Path("outputs") / f"{cfg.data.name}-{model}-{cfg.position.name}-s{cfg.seed}-{key}"


def name_at_wandb(cfg: TrainConfig, folder: Path) -> str:
    """SCHEME-sSEED and the rest of the folder's name: lists of runs show its beginning, and the longest are cut."""
    first = f"{cfg.position.name}-s{cfg.seed}"
    rest = folder.name.replace(f"-{first}-", "-")
    return rest if rest.startswith(first) else f"{first}-{rest}"


def refuse_no_run(path: Path) -> None:
    """Refuse a path at which there cannot be a run or a checkpoint.

    Raises:
        UserError: nothing is there, or it is the folder of all checkpoints of a run.
    """
    if not path.exists():
        raise UserError(f"no such run or checkpoint: {path}")
    run = RunFolder(path.absolute().parent)
    if path.absolute() == run.checkpoints and (run.identity.is_file() or run.result.is_file()):
        raise UserError(f"{path} holds the checkpoints of a run: name the run, {path.parent}, or one of {path}/*")


def key_of(run: RunFolder) -> str | None:
    """The key of the run that this folder holds, begun or finished; a UserError if its manifest was changed."""
    manifest = _manifest(run)
    return None if manifest is None else read_manifest(manifest, AGAIN).get("key")


def _manifest(run: RunFolder) -> Path | None:
    # a published record has no run.json
    return next((file for file in (run.identity, run.result) if file.is_file()), None)


def open_run(run: RunFolder, cfg: TrainConfig, key: str) -> None:
    """Make or find the folder of a run that begins, resumes or is finished.

    Raises:
        UserError: the folder holds another run, this run was changed, or the folder cannot be written.
    """
    manifest = _manifest(run)
    if manifest and not cfg.overwrite:
        names = [file.name for file in run.began_with] if manifest == run.identity else []
        known_key = read_manifest(manifest, AGAIN, *names).get("key")
        if known_key != key:
            raise UserError(f"{run.path} holds another run ({known_key}): choose another folder, or overwrite=true")
        lost = [name for name in names if not (run.result.is_file() or (run.path / name).is_file())]
        if lost:
            raise UserError(f"{run.path / lost[0]} is gone: {AGAIN}")
    with writing(run.checkpoints):
        run.checkpoints.mkdir(parents=True, exist_ok=True)
    # a process was killed while it wrote or removed a checkpoint, or copied all of another run
    for rest in (*run.checkpoints.glob(".*"), *run.path.glob(".checkpoints.*")):
        remove_tree(rest)


@contextmanager
def left_out_if_refused(run: RunFolder) -> Iterator[None]:
    """Remove the folder of a run that an error ends before it has begun."""
    try:
        yield
    except UserError:
        with suppress(OSError):  # something lies there
            if not run.identity.is_file():
                run.checkpoints.rmdir()
                run.lock.unlink()
                run.path.rmdir()
        raise


def write_config(run: RunFolder, settings: dict[str, Any]) -> None:
    """Write config.yaml: a configuration as plain values."""
    write_whole(run.config, OmegaConf.to_yaml(OmegaConf.create(settings)))


def begin(
    run: RunFolder, cfg: TrainConfig, key: str, test_set: tuple[list[str], list[str]], about: dict[str, Any]
) -> None:
    """Write down what a run computes, before it does. A run that resumes keeps what it began with.

    Settings without effect, such as trainer.log_every, may be others when a run resumes: run.json has the latest.

    Args:
        about: what training needs to know besides the settings.

    Raises:
        UserError: the folder cannot be written.
    """
    if cfg.overwrite:
        _clear(run, cfg)
    if run.identity.is_file():
        write_manifest(run.identity, {**read_manifest(run.identity, AGAIN), **about, "config": asdict(cfg)})
        return
    write_config(run, asdict(cfg))
    write_whole(run.test_src, "".join(line + "\n" for line in test_set[0]))
    write_whole(run.test_ref, "".join(line + "\n" for line in test_set[1]))
    write_manifest(run.identity, {"key": key, **about, **provenance(), "config": asdict(cfg)}, run.began_with)


def changed_code(run: RunFolder) -> list[str]:
    """The files of code that are not, or were not at some time, those that this run began with."""
    if not run.identity.is_file():
        return []
    about = read_manifest(run.identity, AGAIN)
    return sorted({*about["changed_code"], *code.differing(about["code"], code.checksums())})


def last_logged(run: RunFolder) -> dict[str, float]:
    """The last step, train/loss, valid/loss and valid/bleu that a run has logged."""
    last: dict[str, float] = {}
    if not run.metrics.is_file():
        return last
    with open(run.metrics, "rb") as file:
        lines = deque(file, maxlen=TAIL)
    for line in lines:
        with suppress(ValueError):  # a line that is being written, or a damaged one, which the run itself refuses
            row = json.loads(line)
            last |= {name: row[name] for name in LAST if name in row}
    return last


def metrics_upto(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of a metrics file that a run resumed from `step` does not write again.

    Raises:
        UserError: a line is damaged; the last one may be cut off by a kill.
    """
    rows = []
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    for n, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
            if row["step"] <= step:
                rows.append(row)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise UserError(f"{path}, line {n}, is damaged: {AGAIN}") from error
    return rows


def provenance() -> dict[str, Any]:
    """The code that computes, the versions of the packages that it uses, and the commit of a checkout."""
    packages = ("torch", "lightning", "hydra-core", "sentencepiece", "sacrebleu", "wandb", "numpy")
    return {
        "versions": {"rope-mt": __version__, **{name: metadata.version(name) for name in packages}},
        "commit": _commit(),
        "code": code.checksums(),
    }


def _commit() -> str | None:
    """The commit of the checkout this code runs from, with `+` if tracked files were changed; None when installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # not another checkout
        done = subprocess.run(describe, env=own, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or a checkout without a commit: the version alone tells what ran


def _clear(run: RunFolder, cfg: TrainConfig) -> None:
    """Remove what a run wrote, and nothing else that may lie in the folder.

    run.json goes last: until then, what a kill leaves here still belongs to this run.
    """
    joined = [file.stem for file in run.path.glob(f"{JOINED.format('*')}.counts")]
    tests = ("test", *cfg.data.named_tests, *joined)
    texts = (run.metrics, run.config, run.test_src, run.test_ref, *map(run.hyp, tests), *map(run.counts, tests))
    empty_folder(run.checkpoints)
    others = (run.logs, run.forced, *run.local_logs, *run.path.glob("skipped-*.json"))
    for path in (*others, *texts, run.result, run.identity):
        with writing(path):
            remove_tree(path)
