"""A damaged file is refused in one line that names it, or read as if it were whole; a hostile one does no harm.

For more of them: tests/soak/damaged_files.py.
"""

import os

from .read_damaged import judged, make_site, orders, table, wrong


def test_no_damage_is_taken_for_right_or_ends_the_process(tmp_path):
    here = os.getcwd()
    try:
        cfg = make_site(tmp_path / "site")
        found = [*judged(tmp_path / "site", cfg, orders(tmp_path / "site", 230, 70))]
    finally:
        os.chdir(here)
    assert len(found) == 300
    assert not wrong(found), table(found)
    damaged = [outcome for outcome in found[:230] if not outcome.kind.startswith("unfinished")]
    assert sum(outcome.what == "refused" for outcome in damaged) > 0.8 * len(damaged)  # few damages change nothing
