"""Charts as inline SVG: no script, no font but the page's own, and colours that its style sheet gives."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from rope_mt.study.compare.groups import Group
from rope_mt.study.compare.tables import shown
from rope_mt.system.plots import COLOURS

WIDTH, HEIGHT = 360, 240  # of the drawing: on a phone a unit is about a CSS pixel, so that 12 of them can be read
LEFT, RIGHT, TOP, BOTTOM = 44, 18, 8, 40  # margins of the plot inside
ROW = 38  # height of a row of `spreads`
DASHES = ("", "7 3", "2 2", "8 3 2 3")  # the colours come again with each
MARKS = (  # circle, square, triangle, diamond
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "m-2.7-2.7h5.4v5.4h-5.4z",
    "m0-3.6 3.4 6h-6.8z",
    "m0-3.8 3.8 3.8-3.8 3.8-3.8-3.8z",
)


@dataclass(frozen=True)
class Series:
    """A line; what is not finite on it is a gap."""

    name: str
    look: int  # which colour, dash and mark
    points: Sequence[tuple[float, float]]
    marked: bool = True  # with a mark at each point


@dataclass(frozen=True)
class Axis:
    label: str
    low: float
    high: float
    ticks: list[tuple[float, str]]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, as a part of the axis; not finite where it has no place on it."""
        if self.log:
            if value <= 0:
                return math.nan
            value, low, high = math.log(value), math.log(self.low), math.log(self.high)
        else:
            low, high = self.low, self.high
        return (value - low) / (high - low)


def linear(label: str, values: Iterable[float], exact: bool = False, most: int = 6) -> Axis:
    """An axis with about `most` round numbers, which ends at such numbers, or if `exact` where the values do."""
    found = [value for value in values if math.isfinite(value)]
    low, high = min(found), max(found)
    if low == high:
        low, high = low - 0.5, high + 0.5
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * by for by in (1, 2, 5, 10) if (high - low) / (power * by) <= most)
    down, up = (math.ceil, math.floor) if exact else (math.floor, math.ceil)
    slack = -1e-9 if exact else 1e-9
    first, last = down(low / step + slack), up(high / step - slack)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = [(i * step, f"{i * step:,.{digits}f}") for i in range(first, last + 1)]
    return Axis(label, low, high, ticks) if exact else Axis(label, first * step, last * step, ticks)


def logarithmic(label: str, values: Iterable[float], lowest: float = 0.0, most: int = 8) -> Axis:
    """A logarithmic axis from a round number to a round number; values below `lowest` are left out."""
    found = [value for value in values if value > 0 and value >= lowest and math.isfinite(value)] or [1.0]
    low, high = min(found), max(found)
    powers = [10.0**i for i in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    ticks: list[float] = []
    for digits in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        marks = [power * digit for power in powers for digit in digits] + [10 * powers[-1]]
        first = max(i for i, mark in enumerate(marks) if mark <= low * (1 + 1e-9))
        last = min(i for i, mark in enumerate(marks) if mark >= high * (1 - 1e-9))
        ticks = marks[first : max(last, first + 1) + 1]
        if len(ticks) <= most:
            break
    return Axis(label, ticks[0], ticks[-1], [(tick, f"{tick:g}") for tick in ticks], log=True)


def lines(title: str, series: Sequence[Series], x: Axis, y: Axis) -> str:
    """A figure with a line for each series; its text for those who do not see it says where each line ends."""
    drawn = [_frame(x, y, HEIGHT)]
    ends = []
    for each in series:
        places = [(_x(x.at(px)), _y(y.at(py))) if _inside(x, px) and _inside(y, py) else None for px, py in each.points]
        paths, marks = [], []
        for i, place in enumerate(places):
            if place is not None:
                paths.append(f"{'L' if i and places[i - 1] is not None else 'M'}{place[0]:.1f} {place[1]:.1f}")
                marks.append(f"M{place[0]:.1f} {place[1]:.1f}{MARKS[each.look % len(MARKS)]}")
        drawn.append(_look(each.look, "".join(paths), "".join(marks) if each.marked else ""))
        last = next((py for _, py in reversed(each.points) if math.isfinite(py)), None)
        ends.append(f"{each.name} ends at {last:.4g}" if last is not None else f"{each.name} has no number")
    return _figure(title, "; ".join(ends), HEIGHT, drawn)


def spreads(title: str, label: str, groups: Sequence[Group], name: str, baseline: Group | None) -> str:
    """A row a group: its mean with a bar of ± sd and a circle for each seed, and a broken line at the baseline's mean.

    Args:
        name: of the figure, one of FIGURES.
    """
    found = [(group.values(name), group.spread(name)) for group in groups]
    bars = [spread.mean + by * (spread.sd or 0.0) for _, spread in found for by in (-1, 1)]
    x = linear(label, [*bars, *(value for values, _ in found for value in values)], most=5)
    height = TOP + ROW * len(groups) + BOTTOM
    drawn = [_frame(x, None, height)]
    if baseline is not None:
        drawn.append(f'<path class="base" d="M{_x(x.at(baseline.spread(name).mean)):.1f} {TOP}V{height - BOTTOM}"/>')
    for look, (group, (values, spread)) in enumerate(zip(groups, found, strict=True)):
        top = TOP + ROW * look
        said = f'y="{top + 13}" class="strong"'
        drawn.append(f'<text x="0" {said}>{escape(group.label)}</text>')
        drawn.append(f'<text x="{WIDTH}" {said} text-anchor="end">{escape(shown(spread))}</text>')
        left, middle, right = (_x(x.at(spread.mean + by * (spread.sd or 0.0))) for by in (-1, 0, 1))
        circles = "".join(f"M{_x(x.at(value)):.1f} {top + 26}{MARKS[0]}" for value in values)
        bar = f"M{left:.1f} {top + 26}H{right:.1f}M{middle:.1f} {top + 20}v12"
        drawn.append(_look(look, bar, circles, dashed=False))
    return _figure(title, "; ".join(f"{group.label} {shown(group.spread(name))}" for group in groups), height, drawn)


def legend(names: Sequence[str]) -> str:
    """What each look means; the names are in the order of looks."""
    keys = []
    for look, name in enumerate(names):
        line = _look(look, "M0 6H34", f"M17 6{MARKS[look % len(MARKS)]}")
        keys.append(f'<li><svg viewBox="0 0 34 12" aria-hidden="true">{line}</svg>{escape(name)}</li>')
    return f'<ul class="legend">{"".join(keys)}</ul>'


def _look(look: int, line: str, marks: str, dashed: bool = True) -> str:
    again, colour = divmod(look, len(COLOURS))
    dashes = f' stroke-dasharray="{DASHES[again % len(DASHES)]}"' if dashed and again % len(DASHES) else ""
    over = f'<path class="mark" d="{marks}"/>' if marks else ""
    return f'<g class="c{colour}"><path class="line" d="{line}"{dashes}/>{over}</g>'


def _figure(title: str, said: str, height: int, drawn: Sequence[str]) -> str:
    return (
        f'<figure>\n<figcaption>{escape(title)}</figcaption>\n<svg viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(said)}</desc>\n" + "\n".join(drawn) + "\n</svg>\n</figure>"
    )


def _frame(x: Axis, y: Axis | None, height: int) -> str:
    """Grid, ticks and the label below; the scale that is left to right has grid lines where it is the only one."""
    bottom = height - BOTTOM
    drawn = []
    for value, said in x.ticks:
        at = _x(x.at(value))
        down = TOP if y is None else bottom
        drawn.append(f'<path class="grid" d="M{at:.1f} {down}V{bottom + 4}"/>')
        for i, part in enumerate(said.split("\n")):
            drawn.append(f'<text x="{at:.1f}" y="{bottom + 15 + 12 * i}" text-anchor="middle">{escape(part)}</text>')
    for value, said in y.ticks if y else ():
        at = _y(y.at(value)) if y else 0.0
        drawn.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(said)}</text>')
    if x.label:
        middle = (LEFT + WIDTH - RIGHT) / 2
        drawn.append(f'<text x="{middle}" y="{height - 3}" text-anchor="middle">{escape(x.label)}</text>')
    return "".join(drawn)


def _inside(axis: Axis, value: float) -> bool:
    return math.isfinite(value) and -1e-9 <= axis.at(value) <= 1 + 1e-9


def _x(part: float) -> float:
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _y(part: float) -> float:
    return HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
