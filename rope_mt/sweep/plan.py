"""What a command line asks for: its jobs before any of them begins, and the name of the sweep that they make."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from rope_mt.config.plain import identity

GROUPS = ("data", "model", "position")  # say what a sweep is about, where all its jobs share the option


@dataclass(frozen=True)
class PlannedJob:
    """A job that is to come: its words on the command line, and the command's dataclass that they make."""

    words: list[str]
    cfg: Any


@dataclass(frozen=True)
class Plan:
    words: list[str]  # those typed, and those of an experiment's sweep that the user did not give otherwise
    runs_several: bool  # whether jobs are run one after the other, or wherever a launcher takes them
    sweep_dir: str  # Hydra's
    jobs: list[PlannedJob]
    known: bool  # whether these are the jobs, or only like them, as the sweeper draws them

    @property
    def job_names(self) -> list[str]:
        """Of each job the words that not all have, as `position=rope seed=2`; all its words where it is alone."""
        all_words = [job.words for job in self.jobs]
        common = set.intersection(*map(set, all_words)) if len(all_words) > 1 else set()
        names = [" ".join(word for word in dict.fromkeys(words) if word not in common) for words in all_words]
        return [name or f"job {number}" for number, name in enumerate(names, start=1)]  # a choice given twice

    @property
    def sweep_name(self) -> str:
        """`sweep.name`, or else what the jobs share, what they differ in, and a digest of what they compute.

        As in `toy-tiny-position-seed-1a2b3c4d`. The same jobs have the same name, so that a sweep that is typed again
        goes on in its folder and W&B group.
        """
        if given := self.jobs[0].cfg.sweep.name:
            return given
        options = [{getattr(job.cfg, group).name for job in self.jobs} for group in GROUPS]
        shared = [name for names in options if len(names) == 1 for name in names]
        first = [word for word in self.jobs[0].words if any(word not in job.words for job in self.jobs)]
        varied = [word.partition("=")[0].lstrip("+").replace("/", ".") for word in first]
        what = [json.dumps(identity(job.cfg), sort_keys=True) for job in self.jobs] if self.known else self.words
        digest = hashlib.sha256("\n".join(sorted(what)).encode()).hexdigest()[:8]
        return "-".join([*shared, *varied, digest])
