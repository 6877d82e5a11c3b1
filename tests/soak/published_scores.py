"""By hand, half a minute: pytest tests/soak/published_scores.py

All lines of three published outputs for newstest2014 get the scores that sacreBLEU itself gives them. Needs
ROPE_MT_CORPORA.
"""

import os
from pathlib import Path

import pytest

from ..translation.published_scores import ALL_LINES, PUBLISHED, check


@pytest.mark.parametrize("system", [system for system, n_lines in PUBLISHED if n_lines == ALL_LINES])
def test_a_published_output_gets_its_known_scores_to_the_last_digit(system):
    check(Path(os.environ["ROPE_MT_CORPORA"]), system, ALL_LINES)
