"""Figures that matplotlib draws, as PNG files or as SVG inside of a page, and tables as CSV files."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_mt.system.files import whole_file, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours, which the colour-blind can tell apart, without their yellow: lines in it vanish on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
DASHES = ("-", "--", ":", "-.")  # a line after the eighth has the colour of an earlier one and the next dash
INK, PAPER, GRID = "#000000", "#FFFFFF", "#DDDDDD"

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
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "savefig.dpi": 200.0,
    "text.parse_math": False,  # a dollar sign in the name of a run is a dollar sign
}
# A chart 5 inches wide is 360 units wide, so on a phone a unit is about a CSS pixel. Text stays text, which a page can
# colour and a reader can select.
SVG_STYLE = {"font.size": 12.0, "axes.labelsize": 12.0, "legend.fontsize": 12.0, "svg.fonttype": "none"}
SVG_STYLE |= {"font.family": "DejaVu Sans"}  # one name: the page gives text its own font
THEME = {INK: "var(--text)", PAPER: "var(--paper)", GRID: "var(--line)"}  # the page's own colours, light or dark


def look(number: int) -> dict[str, Any]:
    """Colour and dash of the line with this number, from 0."""
    again, colour = divmod(number, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[again % len(DASHES)]}


@contextmanager
def _blank(width: float, height: float, style: dict[Any, Any]) -> Iterator[Figure]:
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines = cycler(linestyle=DASHES) * cycler(color=COLOURS)
    with rc_context({**STYLE, "axes.prop_cycle": lines, **style}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for the character
        yield Figure(figsize=(width, height), layout="constrained")


@contextmanager
def figure(path: Path, width: float = 7.0, height: float = 4.0) -> Iterator[Figure]:
    """A figure to draw on, in inches, which is written to `path` as PNG when the block ends without an error."""
    with _blank(width, height, {}) as drawn:
        yield drawn
        with whole_file(path) as file:
            drawn.savefig(file, format="png")


def inline_svg(draw: Callable[[Axes], None], title: str, text: str, height: float) -> str:
    """The drawing as an <svg> element that refers to nothing outside; the same drawing gives the same element.

    Args:
        title: of the chart; no other chart of the page may have it, since it keeps their ids apart.
        text: says what the chart shows to those who do not see it.
        height: in inches; the drawing is 5 inches wide.
    """
    with _blank(5.0, height, {**SVG_STYLE, "svg.hashsalt": title}) as drawn:
        draw(drawn.subplots())
        file = io.StringIO()
        drawn.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    body = file.getvalue().partition("<svg")[2].partition(">")[2]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # it would hold for the whole page
    body = re.sub(r' id="[\w.]+?_\d+"', "", body)  # names of parts, the same in every figure
    for colour, name in THEME.items():
        body = body.replace(f": {colour.lower()}", f": {name}")
    head = f'<svg viewBox="0 0 360 {72 * height:g}" role="img" aria-label="{escape(title)}">'
    return f"{head}<title>{escape(title)}</title><desc>{escape(text)}</desc>{body}"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with one line of column names."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    write_whole(path, csv_text(columns, rows))
