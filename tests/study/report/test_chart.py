"""Axes hold their values, and lines are drawn where their values lie."""

import math
import re

import pytest

from rope_mt.study.report import chart


def test_charts_show_where_values_lie(parse):
    for values in ([0.0, 3.6], [84.2, 92.55, 91.0], [1e-3, 2e-3], [7.0], [-40.0, 12.0], [8.26, math.nan, 1.79]):
        axis, known = chart.linear("", values), [value for value in values if value == value]
        assert axis.at(axis.low) == 0.0
        assert axis.at(axis.high) == 1.0
        assert axis.low <= min(known) <= max(known) <= axis.high
        assert [float(said.replace(",", "")) for _, said in axis.ticks] == pytest.approx([at for at, _ in axis.ticks])
        assert 2 <= len(axis.ticks) <= 8
    x, y = chart.linear("", [0.0, 2.0]), chart.logarithmic("", [0.5, 1e-3, 1e-7], 1e-4)
    assert [said for _, said in y.ticks] == ["0.001", "0.01", "0.1", "1"]
    points = [(0.0, 0.5), (0.5, 0.05), (1.0, math.nan), (1.5, 1e-9), (2.0, 1e-3)]
    drawn = parse(chart.lines("a", [chart.Series("b", 0, points)], x, y))
    [line] = [attrs["d"] or "" for tag, attrs in drawn.tags if attrs.get("class") == "line"]
    parts = re.findall(r"([ML])([\d.]+) ([\d.]+)", line)
    assert [kind for kind, _, _ in parts] == ["M", "L", "M"]  # a gap where nothing can be drawn
    places = [(float(right), float(down)) for _, right, down in parts]
    left, bottom = chart.LEFT, chart.HEIGHT - chart.BOTTOM
    assert places[0][0] == left
    assert places[2] == (chart.WIDTH - chart.RIGHT, bottom)
    assert chart.TOP < places[0][1] < places[1][1] < bottom
