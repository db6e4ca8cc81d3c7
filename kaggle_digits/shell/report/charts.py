"""Charts as SVG whose colours the page's style sheet gives, so that they suit light and dark.

Drawings are built as XML trees: a text in them is text, whatever it holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from kaggle_digits.shell.report.parts import Chart, Table

_WIDTH, _HEIGHT = 600, 320
_LEFT, _RIGHT, _TOP, _BELOW = 64, 16, 26, 46
_COLOURS = 6
_BESIDE = 6
"""Axes up to which parallel coordinates have room beside another chart."""
_ROW = 22
_SHORT, _NAME = 26, 10
_LINE = 18
_SIGN = 6.6
"""Width of a letter, on average."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together.

    Args:
        name: In the legend; empty for none.
        points: x and y.
        spread: The lower and upper end about each point; none for no interval.
        labels: What each point is, shown where it is pointed at; none for its numbers.
        is_line: Joined by a line whose interval is a band; else dots with bars.
        is_named: Write the labels beside the points, where they cover nothing.
    """

    name: str
    points: Sequence[Point]
    spread: Sequence[Point] = ()
    labels: Sequence[str] = ()
    is_line: bool = False
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Args:
        name: What it shows.
        is_log: Of the logarithm.
        ends: The least range it shows; None for the points' own.
        limits: The largest range it shows; None for no limit.
        names: Texts at 0, 1, 2 … in the place of numbers.
        is_whole: Of whole numbers only.
    """

    name: str
    is_log: bool = False
    ends: Point | None = None
    limits: Point | None = None
    names: Sequence[str] = ()
    is_whole: bool = False


def plot(
    title: str, x: Axis, y: Axis, series: Sequence[Series], *, note: str = "", equal: bool = False
) -> Chart:
    """Draw points and lines.

    Args:
        title: What it shows.
        x: Across.
        y: Up.
        series: What is drawn.
        note: How to read it.
        equal: Draw the line on which both axes are equal.
    """
    across = [point[0] for one in series for point in one.points]
    up = [point[1] for one in series for point in one.points]
    up += [end for one in series for pair in one.spread for end in pair]
    scale_x, scale_y = _Scale(x, across), _Scale(y, up)
    svg = _Drawing(title, _WIDTH, _HEIGHT)

    def place(point: Point) -> Point:
        return (
            _LEFT + scale_x.place(point[0]) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BELOW - scale_y.place(point[1]) * (_HEIGHT - _TOP - _BELOW),
        )

    _draw_axes(svg, scale_x, scale_y)
    if equal:
        low, high = max(scale_x.low, scale_y.low), min(scale_x.high, scale_y.high)
        if low < high:
            svg.line(place((low, low)), place((high, high)), "equal")
    for number, one in enumerate(series):
        colour = f"c{number % _COLOURS}"
        ends = [
            (place((point[0], low)), place((point[0], high)))
            for point, (low, high) in zip(one.points, one.spread, strict=bool(one.spread))
        ]
        places = [place(point) for point in one.points]
        if one.is_line:
            if ends:
                border = [end[1] for end in ends] + [end[0] for end in reversed(ends)]
                svg.add("polygon", points=_points(border), class_=f"band {colour}")
            svg.add("polyline", points=_points(places), class_=f"line {colour}")
        for low_end, high_end in () if one.is_line else ends:
            svg.line(low_end, high_end, f"bar {colour}")
        radius = 2.5 if one.is_line else 4
        for index, (across_, up_) in enumerate(places):
            said = one.labels[index] if one.labels else _said(one, index, scale_x, scale_y)
            svg.add("circle", said, cx=across_, cy=up_, r=radius, class_=f"dot {colour}")
        if one.is_named:
            _name_points(svg, places, one.labels)
    svg.legend([one.name for one in series])
    return Chart(title, svg.text(), _table_of(title, x, y, series), note)


def intervals(
    title: str, axis: str, rows: Sequence[tuple[str, float, float, float]], *, note: str = ""
) -> Chart:
    """Draw values with their intervals, one below the other, about a line at 0.

    Args:
        title: What it shows.
        axis: What the values are.
        rows: Name, value, lower and upper end.
        note: How to read it.
    """
    left = 210
    height = _TOP + _ROW * len(rows) + _BELOW
    scale = _Scale(Axis(axis, ends=(0.0, 0.0)), [value for row in rows for value in row[1:]])
    svg = _Drawing(title, _WIDTH, height)

    def across(value: float) -> float:
        return left + scale.place(value) * (_WIDTH - left - _RIGHT)

    below = height - _BELOW
    for value in scale.ticks():
        svg.line((across(value), _TOP), (across(value), below), "grid")
        svg.write(scale.text(value), across(value), below + 16, "middle")
    svg.line((across(0), _TOP), (across(0), below), "axis")
    for index, (name, value, low, high) in enumerate(rows):
        up = _TOP + _ROW * (index + 0.5)
        svg.write(_short(name), left - 8, up + 4, "end", name)
        svg.line((across(low), up), (across(high), up), "bar c0")
        said = f"{name}: {value:.5g}, {low:.5g} to {high:.5g}"
        svg.add("circle", said, cx=across(value), cy=up, r=4, class_="dot c0")
    svg.write(axis, (left + _WIDTH - _RIGHT) / 2, height - 8, "middle")
    cells = [[name, *(f"{value:.5g}" for value in values)] for name, *values in rows]
    return Chart(title, svg.text(), Table(title, ("", axis, "from", "to"), cells), note)


def bars(
    title: str,
    axis: str,
    names: Sequence[str],
    series: Sequence[tuple[str, Sequence[float]]],
    *,
    note: str = "",
) -> Chart:
    """Draw values as lying bars, those of a name below one another.

    Args:
        title: What it shows.
        axis: What the values are.
        names: Of the groups.
        series: Name, and a value for each group.
        note: How to read it.
    """
    left, thick = 150, 12
    group = thick * len(series) + 8
    height = _TOP + group * len(names) + _BELOW
    values = [value for _, own in series for value in own]
    scale = _Scale(Axis(axis, ends=(0.0, 0.0)), values)
    svg = _Drawing(title, _WIDTH, height)

    def across(value: float) -> float:
        return left + scale.place(value) * (_WIDTH - left - _RIGHT)

    below = height - _BELOW
    for value in scale.ticks():
        svg.line((across(value), _TOP), (across(value), below), "grid")
        svg.write(scale.text(value), across(value), below + 16, "middle")
    for index, name in enumerate(names):
        top = _TOP + group * index + 4
        svg.write(_short(name, 20), left - 8, top + thick * len(series) / 2 + 4, "end", name)
        for number, (whose, own) in enumerate(series):
            start, end = sorted((across(0), across(own[index])))
            said = f"{name}{', ' + whose if whose else ''}: {own[index]:.5g}"
            svg.add(
                "rect", said, x=start, y=top + thick * number, width=max(end - start, 0.5),
                height=thick - 2, class_=f"fill c{number % _COLOURS}",
            )  # fmt: skip
    svg.write(axis, (left + _WIDTH - _RIGHT) / 2, height - 8, "middle")
    svg.legend([whose for whose, _ in series])
    rows = [[name, *(f"{own[index]:.5g}" for _, own in series)] for index, name in enumerate(names)]
    header = ("", *(whose or axis for whose, _ in series))
    return Chart(title, svg.text(), Table(title, header, rows), note)


def heat(
    title: str, names: Sequence[str], values: Sequence[Sequence[float]], *, note: str = ""
) -> Chart:
    """Draw a square of values, the higher the fuller; of small ones the numbers too.

    Args:
        title: What it shows.
        names: Of rows and columns.
        values: A row of values for each name.
        note: How to read it.
    """
    left, count = 210, len(names)
    cell = min(64.0, (_WIDTH - left - _RIGHT) / count)
    below = 30.0
    svg = _Drawing(title, _WIDTH, _TOP + cell * count + below)
    inner = [
        value for row, own in enumerate(values) for column, value in enumerate(own) if row != column
    ] or [0.0]
    low, high = min(inner), max(inner)
    for row, own in enumerate(values):
        top = _TOP + cell * row
        if cell >= 9:
            label = f"{row + 1} {_short(names[row], 24)}"
            svg.write(label, left - 6, top + cell / 2 + 4, "end", names[row])
        for column, value in enumerate(own):
            share = 1.0 if row == column or high == low else (value - low) / (high - low)
            said = f"{names[row]} and {names[column]}: {value:.5f}"
            svg.add(
                "rect", said, x=left + cell * column, y=top, width=cell, height=cell,
                class_="heat", style=f"fill-opacity:{0.08 + 0.72 * share:.3f}",
            )  # fmt: skip
            if cell >= 46:
                svg.write(
                    f"{value:.4f}", left + cell * (column + 0.5), top + cell / 2 + 4, "middle"
                )
    step = max(1, math.ceil(14 / cell))
    for column in range(0, count, step):
        across = left + cell * (column + 0.5)
        svg.write(str(column + 1), across, _TOP + cell * count + 15, "middle", names[column])
    rows = [
        [name, *(f"{value:.5f}" for value in own)] for name, own in zip(names, values, strict=True)
    ]
    header = ("", *(str(number + 1) for number in range(count)))
    return Chart(title, svg.text(), Table(title, header, rows), note)


def parallel(
    title: str,
    axes: Sequence[tuple[str, Sequence[tuple[float, str]]]],
    lines: Sequence[tuple[str, Sequence[float], int]],
    data: Table,
    *,
    note: str = "",
) -> Chart:
    """Draw an upright axis for each value, and a line for each of what has these values.

    Args:
        title: What it shows.
        axes: Name, and ticks: place between 0 (below) and 1, and text.
        lines: What each one is, its places on the axes, and its colour from 0, the strongest.
        data: The values as a table.
        note: How to read it.
    """
    # As many as a page is wide for, as long as their texts keep apart.
    gap, height, top = min(100.0, max(68.0, 960 / max(len(axes) - 1, 1))), 340, 16
    svg = _Drawing(title, 30 + gap * (len(axes) - 1) + 84, top + height + 52, 0.75)

    def at(index: int, place: float) -> Point:
        return 30 + gap * index, top + height * (1 - place)

    for said, places, colour in lines:
        points = [at(index, place) for index, place in enumerate(places)]
        svg.add("polyline", said, points=_points(points), class_=f"line rank{colour}")
    for index, (name, ticks) in enumerate(axes):
        svg.line(at(index, 0), at(index, 1), "axis")
        for row, word in enumerate(name.split("_")):
            svg.write(word, 30 + gap * index, top + height + 20 + 14 * row, "middle")
        for place, text in ticks:
            across, up = at(index, place)
            svg.write(_short(text, 12), across + 4, up + 4, "start", text, class_="tick")
    return Chart(title, svg.text(), data, note, is_wide=len(axes) > _BESIDE)


class _Scale:
    """Places the values of an axis between 0 and 1."""

    def __init__(self, axis: Axis, values: Sequence[float]) -> None:
        self.axis = axis
        values = [value for value in values if math.isfinite(value)]
        low, high = min(values, default=0.0), max(values, default=1.0)
        self._is_log = axis.is_log and low > 0
        if axis.names:
            self.low, self.high = -0.5, len(axis.names) - 0.5
            return
        if axis.ends is not None:
            low, high = min(low, axis.ends[0]), max(high, axis.ends[1])
        low, high = (math.log10(low), math.log10(high)) if self._is_log else (low, high)
        room = (high - low) * 0.04 or abs(high) * 0.01 or 0.5
        self.low, self.high = low - room, high + room
        if axis.ends is not None and not self._is_log:
            self.low = max(self.low, axis.ends[0]) if low >= axis.ends[0] else self.low
            self.high = min(self.high, axis.ends[1]) if high <= axis.ends[1] else self.high
            if self.low == self.high:  # all at the end, as where nothing is wrong
                self.low -= room
        if axis.limits is not None and not self._is_log:
            self.low = max(self.low, axis.limits[0])
            self.high = min(self.high, axis.limits[1])

    def place(self, value: float) -> float:
        """Return a value's place; what is beyond all bounds stands at the upper end."""
        if not math.isfinite(value):
            return 1.0
        value = math.log10(value) if self._is_log else value
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Return some five round values."""
        if self.axis.names:
            room = (_WIDTH - _LEFT - _RIGHT) / (_SIGN * (_NAME + 1))
            step = max(1, math.ceil(len(self.axis.names) / room))
            return [float(index) for index in range(0, len(self.axis.names), step)]
        if self._is_log:
            places = [self.low + (self.high - self.low) * (0.04 + 0.23 * i) for i in range(5)]
            return [float(f"{10**place:.2g}") for place in places]
        span = self.high - self.low
        step = 10 ** math.floor(math.log10(span / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
        step = max(step, 1.0) if self.axis.is_whole else step
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def text(self, value: float) -> str:
        """Return a value as it stands beside its tick."""
        if self.axis.names:
            return _short(self.axis.names[int(value)], _NAME)
        return f"{value:.6g}" if abs(value) > 1e-12 else "0"


class _Drawing:
    """An SVG under way."""

    def __init__(self, title: str, width: float, height: float, least: float = 0.8) -> None:
        self._root = ElementTree.Element(
            "svg",
            {
                "role": "img",
                "aria-label": title,
                "class": "drawing",
                # On a phone it is moved, not made too small to read.
                "style": f"max-width:{_number(width)}px;min-width:{_number(width * least)}px",
            },
        )
        self._width, self._height = width, height

    def add(self, kind: str, said: str | None = None, class_: str = "", **given: object) -> None:
        """Add a shape, and what is said where it is pointed at."""
        values = {
            name: _number(value) if isinstance(value, int | float) else str(value)
            for name, value in given.items()
        }
        made = ElementTree.SubElement(self._root, kind, {"class": class_} | values)
        if said is not None:
            ElementTree.SubElement(made, "title").text = said

    def line(self, start: Point, end: Point, class_: str) -> None:
        """Add a straight line."""
        self.add("line", class_=class_, x1=start[0], y1=start[1], x2=end[0], y2=end[1])

    def write(
        self, text: str, x: float, y: float, anchor: str, whole: str = "", class_: str = ""
    ) -> None:
        """Add a text; where it was cut, the whole is said where it is pointed at."""
        given = {"x": _number(x), "y": _number(y), "text-anchor": anchor}
        made = ElementTree.SubElement(
            self._root, "text", given | ({"class": class_} if class_ else {})
        )
        made.text = text
        if whole and whole not in text:
            ElementTree.SubElement(made, "title").text = whole

    def legend(self, names: Sequence[str]) -> None:
        """Write below which colour is whose, where there are several."""
        named = [(number, _short(name)) for number, name in enumerate(names) if name]
        if len(named) < 2:
            return
        across = self._width
        for number, name in named:
            wide = 28 + _SIGN * len(name)
            if across + wide > self._width:
                across, self._height = _LEFT, self._height + _LINE
            up = self._height - _LINE
            colour = f"fill c{number % _COLOURS}"
            self.add("rect", x=across, y=up, width=10, height=10, class_=colour)
            self.write(name, across + 14, up + 9, "start", names[number])
            across += wide

    def text(self) -> str:
        """Return the SVG's text."""
        self._root.set("viewBox", f"0 0 {_number(self._width)} {_number(self._height)}")
        return ElementTree.tostring(self._root, encoding="unicode")


def _draw_axes(svg: _Drawing, x: _Scale, y: _Scale) -> None:
    bottom, right = _HEIGHT - _BELOW, _WIDTH - _RIGHT
    for value in y.ticks():
        up = bottom - y.place(value) * (bottom - _TOP)
        svg.line((_LEFT, up), (right, up), "grid")
        svg.write(y.text(value), _LEFT - 6, up + 4, "end")
    for value in x.ticks():
        across = _LEFT + x.place(value) * (right - _LEFT)
        svg.line((across, bottom), (across, bottom + 4), "axis")
        whole = x.axis.names[int(value)] if x.axis.names else ""
        svg.write(x.text(value), across, bottom + 17, "middle", whole)
    svg.line((_LEFT, bottom), (right, bottom), "axis")
    svg.write(x.axis.name, (_LEFT + right) / 2, _HEIGHT - 8, "middle")
    svg.write(y.axis.name, 2, 10, "start")


def _name_points(svg: _Drawing, places: Sequence[Point], names: Sequence[str]) -> None:
    """Write names beside points, the highest first; those that have no room are left out."""
    groups: dict[Point, list[str]] = {}
    for place, name in sorted(zip(places, names, strict=True), key=lambda pair: pair[0][1]):
        groups.setdefault((round(place[0], 1), round(place[1], 1)), []).append(name)
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in groups]
    for (x, y), own in groups.items():
        text = _short(own[0] if len(own) == 1 else f"{own[0]} and {len(own) - 1} more")
        wide = _SIGN * len(text)
        for across, up in ((6, -5), (6, 13), (-6 - wide, -5), (-6 - wide, 13)):
            box = (x + across, y + up - 11, x + across + wide, y + up + 3)
            inside = box[0] >= _LEFT and box[2] <= _WIDTH - _RIGHT
            inside = inside and box[1] >= _TOP and box[3] <= _HEIGHT - _BELOW
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                svg.write(text, box[0], y + up, "start", ", ".join(own), class_="tick")
                break


def _overlap(first: Box, second: Box) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )


def _table_of(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> Table:
    has_spread = any(one.spread for one in series)
    header = ["", x.name, y.name, *(("from", "to") if has_spread else ())]
    rows = []
    for one in series:
        for index, (across, up) in enumerate(one.points):
            said = one.labels[index] if one.labels else one.name
            first = x.names[int(across)] if x.names else f"{across:.6g}"
            row = [said, first, f"{up:.6g}"]
            if has_spread:
                row += [f"{end:.6g}" for end in one.spread[index]] if one.spread else ["", ""]
            rows.append(row)
    return Table(title, header, rows)


def _said(one: Series, index: int, x: _Scale, y: _Scale) -> str:
    across, up = one.points[index]
    first = x.axis.names[int(across)] if x.axis.names else f"{across:.6g}"
    text = f"{x.axis.name} {first}, {y.axis.name} {up:.6g}"
    if one.spread:
        text += f" ({one.spread[index][0]:.6g} to {one.spread[index][1]:.6g})"
    return f"{one.name}: {text}" if one.name else text


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _short(text: str, most: int = _SHORT) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
