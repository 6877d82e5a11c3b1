"""By hand, a quarter of an hour on two cores: pytest -s tests/soak/killed_sweep.py

A sweep of three schemes and two seeds on the toy corpus, killed twice at random moments and typed again, ends with the
results of one that was left alone, to the last digit.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))

from killed import comparison, finish, killed_twice, results
from warm import type_command

WORDS = ["position=sinusoidal-add,relative,rope", "seed=1,2", "trainer.max_steps=200", "trainer.val_every=50"]


def test_a_sweep_killed_twice_ends_as_one_left_alone(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
    finish(type_command, WORDS, alone)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    killed_twice(type_command, WORDS, killed, 6 * 200, random.Random(seed))
    assert len(results(alone)) == 6
    assert results(killed) == results(alone)
    assert comparison(killed) == comparison(alone)
