"""By hand, two minutes: pytest -s tests/soak/damaged_files.py

Damages every kind of file that is read, 2,000 times: how often it was refused in one line, or read as if it were whole.
"""

from ..runs.damaged import FINE, judged, make_site, table


def test_two_thousand_damages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes = [*judged(tmp_path, make_site(tmp_path), 2_000)]
    print(table(outcomes))
    assert all(outcome.verdict in FINE for outcome in outcomes)
