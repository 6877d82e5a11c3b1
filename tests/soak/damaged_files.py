"""By hand, two minutes: python tests/soak/damaged_files.py [DAMAGED HOSTILE]

2,000 damages to every kind of file that is read, and 1,400 files of somebody who makes all check sums right: how often
each was refused in one line, read as the whole one, or, of the hostile ones, accepted; and what went wrong.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from runs.read_damaged import judged, make_site, orders, table, wrong


def main(damaged: int, hostile: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        cfg = make_site(site)
        found = [*judged(site, cfg, orders(site, damaged, hostile))]
    print(table(found))
    for outcome in wrong(found):
        print(outcome)
    return bool(wrong(found))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:] or ["2000", "1400"])))
