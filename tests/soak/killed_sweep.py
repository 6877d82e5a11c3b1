"""By hand, a quarter of an hour on two cores: pytest -s tests/soak/killed_sweep.py

A sweep of three schemes and two seeds on the toy corpus is killed twice at random moments and typed again. It ends with
the results of one that was left alone, to the last digit.
"""

from ..sweep.killed import check_killed
from ..warm import type_command

WORDS = ["position=sinusoidal-add,relative,rope", "seed=1,2", "trainer.max_steps=200", "trainer.val_every=50"]


def test_a_sweep_that_is_killed_ends_like_one_left_alone(tmp_path):
    check_killed(type_command, WORDS, tmp_path, jobs=6, steps=200, kills=2)
