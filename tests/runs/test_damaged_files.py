"""A damaged file is refused in one line that names it, or read as if it were whole (more: tests/soak/)."""

from .damaged import FINE, judged, make_site, table


def test_no_damage_is_taken_for_right(here):
    outcomes = [*judged(here, make_site(here), 220)]
    assert all(outcome.verdict in FINE for outcome in outcomes), table(outcomes)
    # few damages change nothing
    assert sum(outcome.verdict == "refused" for outcome in outcomes) > 0.8 * len(outcomes), table(outcomes)
