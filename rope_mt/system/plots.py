"""What every analysis leaves behind: a figure as PNG and its numbers as CSV, each written whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_mt.system.files import whole_file, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's colours, which the colour-blind tell apart; their yellow is left out, since lines in it vanish on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
DASHES = ("-", "--", ":", "-.")  # the colours come again with each

STYLE: dict[Any, Any] = {  # matplotlib's own names
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "savefig.dpi": 200.0,
}


@contextmanager
def figure(path: Path, width: float = 7.0, height: float = 4.0) -> Iterator[Figure]:
    """A figure to draw on, in inches; when the block ends without an error it is written to `path` as PNG.

    Raises:
        UserError: the folder cannot be written.
    """
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines = cycler(linestyle=DASHES) * cycler(color=COLOURS)
    with rc_context({**STYLE, "axes.prop_cycle": lines}):
        drawn = Figure(figsize=(width, height), layout="constrained")
        yield drawn
        with whole_file(path) as file:
            drawn.savefig(file, format="png")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with one line of column names.

    Raises:
        UserError: the folder cannot be written.
    """
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(columns)
    out.writerows(rows)
    write_whole(path, text.getvalue())
