"""By hand, ten minutes on two cores: pytest -s tests/soak/killed_anywhere.py

Fifty kills and more of training in each phase, at any moment, and of evaluation, each followed by the same command: no
file with a final name is half, the last two checkpoints are there, and the end is that of a run left alone, to the bit.
"""

import random
import sys
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import warm
from killed_run import PHASES, Typed, differences, killed_in_turn, outcome, words


def test_a_run_killed_fifty_times_ends_as_one_left_alone(tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    forked = partial(warm.start, slow_disk=0.02)
    (tmp_path / "text").mkdir()
    typed = words(tmp_path / "text")
    hits, seconds, expected, turns = Counter[str](), {}, [], 0
    for workers, start in enumerate((forked, warm.type_command)):
        alone = Typed(start, tmp_path / f"alone-{workers}", [*typed, f"data.workers={workers}"])
        alone.finish()
        expected.append({**outcome(alone), "eval": alone.eval()})
        seconds[start] = alone.seconds
    while hits.total() < 50 or min(hits[phase] for phase in PHASES) < 5:
        start, workers = warm.type_command if turns < 3 else forked, turns % 2
        middle = [*PHASES[1:4], "any"]
        dice.shuffle(middle)
        turns += 1
        killed = Typed(start, tmp_path / f"killed-{turns}", [*typed, f"data.workers={workers}"], dice)
        hits += killed_in_turn(killed, ["prepare", *middle, "scoring", "eval"], seconds[start])
        kind = "real" if start is warm.type_command else "forked"
        print(f"{turns} runs, the last one {kind}, with {workers} loader workers: {dict(hits)}", flush=True)
        assert list(differences({**outcome(killed), "eval": killed.eval()}, expected[workers])) == []
