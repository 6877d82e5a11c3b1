"""By hand, a quarter of an hour on two cores: pytest -s tests/soak/long_run.py

20,000 steps and 100 validations of a very small model, with and without loader workers: memory, open files and threads
are those of the first steps.
"""

import pytest
import torch

from rope_mt.system.device import choose_precision

from ..training.killed_run import words
from ..training.long_run import check, watch
from ..warm import type_command

NATIVE = choose_precision("auto", torch.device("cpu"))  # elsewhere bf16 is emulated, which no run does by itself


@pytest.mark.parametrize(
    ("precision", "workers"),
    [
        ("fp32", 0),
        ("fp32", 2),
        pytest.param("bf16", 0, marks=pytest.mark.skipif(NATIVE != "bf16", reason="no bf16 in this processor")),
    ],
)
def test_twenty_thousand_steps_hold_no_more_than_the_first(precision, workers, tmp_path):
    typed = [*words(tmp_path / "text", pairs=2_000), "data.max_len=40", "data.batch_tokens=100"]
    typed += ["trainer.max_steps=20000", "trainer.val_every=200", "trainer.log_every=20", f"data.workers={workers}"]
    typed += [f"trainer.precision={precision}"]
    process = type_command(["train", *typed], tmp_path, tmp_path / "log")
    moments = watch(process, tmp_path)
    assert process.returncode == 0, (tmp_path / "log").read_text()
    check(moments)
