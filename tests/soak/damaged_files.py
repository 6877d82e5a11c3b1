"""By hand, two minutes: python tests/soak/damaged_files.py [DAMAGES]

Damages every kind of file that is read, 2,000 times: how often it was refused in one line, or read as if it were whole.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from runs.damaged import FINE, judged, make_site, table


def main(n: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        outcomes = [*judged(site, make_site(site), n)]
    print(table(outcomes))
    return any(outcome.verdict not in FINE for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:] or ["2000"])))
