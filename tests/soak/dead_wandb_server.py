"""By hand, six minutes: pytest tests/soak/dead_wandb_server.py

How long a W&B server that dies in the middle of a job holds it up, with the waits as they are, tables and files to
upload: no step waits for it, a validation once for some seconds, and the end for less than a minute.
"""

import os
import time
from collections.abc import Callable

import pytest

from rope_mt.config.training import TrackingConfig
from rope_mt.runs.tracking import track
from rope_mt.system.manifest import write_manifest

from ..runs.newcomer import KEY, newcomer
from ..runs.wandb_server import WandbServer

ROWS = [(f"source {i} " * 12, f"reference {i} " * 12, f"hypothesis {i} " * 12) for i in range(3_003)]


def seconds(what: Callable[[], object]) -> float:
    begun = time.monotonic()
    what()
    return time.monotonic() - begun


@pytest.mark.parametrize(("tables_before", "tables_after"), [(0, 0), (0, 3), (1, 0), (1, 3)])
@pytest.mark.parametrize("death", [WandbServer.die, WandbServer.fall_silent])
def test_a_dead_server_costs_less_than_a_minute(death, tables_before, tables_after, tmp_path):
    run = tmp_path / "outputs" / "run"
    run.mkdir(parents=True)
    write_manifest(run / "run.json", {"key": "0a"})
    (run / "average.ckpt").write_bytes(os.urandom(50_000_000))
    with newcomer(tmp_path) as patch, WandbServer() as server:
        patch.setenv("WANDB_BASE_URL", server.url)
        patch.setenv("WANDB_API_KEY", KEY)
        with track(TrackingConfig(), run, {}, name=run.name, tags=[]) as tracker:
            for step in range(tables_before):
                tracker.log_translations("valid/translations", ROWS[:50], step)
            death(server)
            steps = seconds(lambda: [tracker.log({"train/loss": 2.5}, step) for step in range(100)])
            later = range(100, 100 + tables_after)
            validations = seconds(
                lambda: [tracker.log_translations("valid/translations", ROWS[:50], step) for step in later]
            )
            end = time.monotonic()
            tracker.summarize({"test/bleu": 27.5})
            tracker.log_translations("test/translations", ROWS, 103)
            tracker.keep(run / "average.ckpt", "model")
        end = time.monotonic() - end
    print(f"{death.__name__}: steps {steps:.2f} s, validations {validations:.1f} s, end {end:.1f} s")
    assert steps < 1
    assert validations < 15
    assert end < 60
