"""A run folder: named after what it computes, so that the same command finds the same run again."""

import hashlib
import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rope_mt import __version__
from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import JOINED
from rope_mt.config.plain import identity, to_plain
from rope_mt.errors import UserError
from rope_mt.system.disk import cannot_write
from rope_mt.system.files import write_whole
from rope_mt.system.manifest import read_manifest, write_manifest

AGAIN = "start the run again with overwrite=true"


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run lie."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def identity(self) -> Path:
        """What tells this run from another: its key, the versions that began it, and what W&B knows it by."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """Who trains the run, or was killed at it: whether anybody does tells only the lock on this file."""
        return self.path / ".lock"

    @property
    def began_with(self) -> tuple[Path, ...]:
        """What run.json knows the digests of."""
        return self.config, self.test_src, self.test_ref

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def average(self) -> Path:
        return self.checkpoints / "average.ckpt"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.ckpt"

    @property
    def test_src(self) -> Path:
        return self.path / "test.src"

    @property
    def test_ref(self) -> Path:
        return self.path / "test.ref"

    @property
    def test_hyp(self) -> Path:
        return self.hyp("test")

    def hyp(self, test: str) -> Path:
        """The translations of a test set: `test`, or the name of a further one."""
        return self.path / f"{test}.hyp"

    def counts(self, test: str) -> Path:
        """What BLEU counts in these translations (rope_mt/translation/bleu_statistics.py)."""
        return self.path / f"{test}.counts"


def run_hash(cfg: TrainConfig, precision: str, fingerprints: dict[str, str], processes: int = 1) -> str:
    """Eight hex digits over all that changes the result: settings, resolved precision, processes, and the text."""
    what = {**identity(cfg), "precision": precision, "processes": processes, "text": fingerprints}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]


def default_folder(cfg: TrainConfig, key: str) -> Path:
    """`outputs/DATA-MODEL-POSITION-sSEED-KEY`, where a model with linear attention says so."""
    model = cfg.model.name if cfg.model.attention == "softmax" else f"{cfg.model.name}-{cfg.model.attention}"
    return Path("outputs") / f"{cfg.data.name}-{model}-{cfg.position.name}-s{cfg.seed}-{key}"


def open_run(run: RunFolder, cfg: TrainConfig, key: str) -> None:
    """Make or find the folder of a run that begins, goes on, or is done; `begin` empties it if it is to be overwritten.

    Raises:
        UserError: the folder holds another run, this one is not as it was left, or it cannot be written.
    """
    for rest in run.checkpoints.glob(".*.ckpt.*"):  # of a write that was cut off, as large as what it would have made
        with suppress(OSError):  # what is finished may lie where nobody can write
            rest.unlink()
    known_by = next((file for file in (run.identity, run.result) if file.is_file()), None)  # a record has no run.json
    if known_by and not cfg.overwrite:
        there = read_manifest(known_by, AGAIN)
        if there.get("key") != key:
            other = f"{run.path} holds another run ({there.get('key')})"
            raise UserError(f"{other}: choose another folder, or overwrite=true")
        if known_by == run.identity:
            if lost := [file for file in run.began_with if not (run.result.is_file() or file.is_file())]:
                raise UserError(f"{lost[0]} is not there any more: {AGAIN}")
            read_manifest(run.identity, AGAIN, *(file.name for file in run.began_with))
    try:
        run.checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(run.checkpoints, error) from error


def write_config(run: RunFolder, settings: dict[str, Any]) -> None:
    """Write config.yaml: a configuration as plain values."""
    write_whole(run.config, OmegaConf.to_yaml(OmegaConf.create(settings)))


def begin(run: RunFolder, cfg: TrainConfig, key: str, test_set: tuple[list[str], list[str]]) -> None:
    """Write down what the run computes, before it does; where another run is to be overwritten, remove that first.

    Raises:
        UserError: the folder cannot be written.
    """
    if cfg.overwrite:
        _clear(run, cfg)
    write_config(run, to_plain(cfg))
    write_whole(run.test_src, "".join(line + "\n" for line in test_set[0]))
    write_whole(run.test_ref, "".join(line + "\n" for line in test_set[1]))
    write_manifest(run.identity, {"key": key, **provenance()}, run.began_with)


def provenance() -> dict[str, Any]:
    """Versions of what computes, and the commit of a checkout."""
    packages = ("torch", "lightning", "hydra-core", "sentencepiece", "sacrebleu", "wandb", "numpy")
    return {
        "versions": {"rope-mt": __version__, **{name: metadata.version(name) for name in packages}},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of the checkout this code runs from, `+` behind it when files were changed; None when installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or a checkout without a commit: the version alone says what ran
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")


def _clear(run: RunFolder, cfg: TrainConfig) -> None:
    """Remove what a run wrote, and nothing else that may lie in the folder.

    Whose it is goes last: what a kill on the way leaves belongs to this run until all of it is gone.
    """
    full = run.checkpoints.glob("step-*.ckpt")  # from which a run that is not cleared would go on
    rest = (*run.checkpoints.glob("*.ckpt"), *run.path.glob("skipped-*.json"))
    joined = (file.stem for file in run.path.glob(f"{JOINED.format('*')}.counts"))
    tests = ("test", *cfg.data.named_tests, *joined)
    texts = (run.metrics, run.config, run.test_src, run.test_ref, *map(run.hyp, tests), *map(run.counts, tests))
    for file in (*full, *rest, *texts, run.result, run.identity):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(file, error) from error
