"""A sweep that is killed at any moment and typed again ends like one left alone. Longer: tests/soak/killed_sweep.py."""

from .. import warm
from ..training.killed_run import words
from .killed import check_killed


def test_a_sweep_that_is_killed_ends_like_one_left_alone(tmp_path):
    short = ["trainer.max_steps=8", "search.max_len_a=0.2", f"data.dir={tmp_path / 'data'}"]
    sweep = [*words(tmp_path), *short, "position=rope,none"]
    check_killed(warm.start, sweep, tmp_path, jobs=2, steps=8, kills=1)
