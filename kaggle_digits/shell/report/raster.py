"""Charts as PNG files: the drawings of `charts`, shape by shape, by Matplotlib.

What a chart looks like is decided in one place: shapes and where they stand by `charts`, colours by
the page's style sheet, whose light ones are taken here.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

from kaggle_digits.shell.report.parts import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARPNESS = 144
_GAP, _TITLE, _NOTE = 24.0, 24.0, 15.0
_SIGN = 5.6
"""Width of a small letter, on average."""
_RANKS = {"rank0": ("c0", 2.4, 1.0), "rank1": ("c2", 2.0, 0.75), "rank2": ("soft", 2.0, 0.45)}
_LINES = {"grid": ("line", 1.0), "axis": ("soft", 1.0), "equal": ("soft", 1.0)}


def raster(drawn: Sequence[Chart], otherwise: str) -> bytes:
    """Return charts side by side as a PNG.

    Args:
        drawn: The charts.
        otherwise: What is written where there are none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trees = [ElementTree.fromstring(chart.svg) for chart in drawn]
    sizes = [tuple(map(float, tree.get("viewBox", "").split()[2:])) for tree in trees]
    notes = [
        textwrap.wrap(chart.note, int(width / _SIGN))
        for chart, (width, _) in zip(drawn, sizes, strict=True)
    ]
    width = sum(size[0] for size in sizes) + _GAP * (len(drawn) + 1) if drawn else 400.0
    below = max((len(lines) for lines in notes), default=0) * _NOTE
    height = max((size[1] for size in sizes), default=40.0) + _TITLE + below + 2 * _GAP
    figure = Figure(figsize=(width / 72, height / 72), dpi=_SHARPNESS)
    canvas = FigureCanvasAgg(figure)
    # A unit is a point, as in the drawings.
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    colours, left = _colours(), _GAP
    for chart, tree, lines, (wide, high) in zip(drawn, trees, notes, sizes, strict=True):
        axes.text(left, _GAP, chart.title, size=14, weight="bold", va="center", parse_math=False)
        for order, shape in enumerate(tree):
            _draw(axes, shape, (left, _GAP + _TITLE), order, colours)
        for number, line in enumerate(lines):
            up = _GAP + _TITLE + high + _NOTE * (number + 0.8)
            axes.text(left, up, line, size=9, color=colours["soft"], va="center", parse_math=False)
        left += wide + _GAP
    if not drawn:
        axes.text(_GAP, height / 2, otherwise, size=12, va="center", parse_math=False)
    out = io.BytesIO()
    canvas.print_png(out)  # type: ignore[no-untyped-call]
    return out.getvalue()


def _colours() -> dict[str, str]:
    """Return the style sheet's light colours by name; they stand first in it."""
    templates = resources.files("kaggle_digits.shell.report").joinpath("templates")
    found: dict[str, str] = {}
    for name, value in re.findall(
        r"--([a-z0-9-]+): (#[0-9a-f]{6})", templates.joinpath("page.css").read_text("utf-8")
    ):
        found.setdefault(name, value)
    return found


def _draw(
    axes: Axes,
    shape: ElementTree.Element,
    corner: tuple[float, float],
    order: int,
    colours: dict[str, str],
) -> None:
    """Draw one of the shapes that `charts` makes."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Polygon, Rectangle

    words = (shape.get("class") or "").split()
    colour = next((colours[word] for word in words if re.fullmatch(r"c\d", word)), colours["c0"])
    right, down = corner

    def at(x: str, y: str) -> tuple[float, float]:
        return float(shape.get(x, 0)) + right, float(shape.get(y, 0)) + down

    given: dict[str, Any] = {"zorder": 2 + order / 10_000}
    match shape.tag:
        case "line":
            name, thick = next((_LINES[word] for word in words if word in _LINES), ("", 1.6))
            (x, y), (x2, y2) = at("x1", "y1"), at("x2", "y2")
            style: Literal["--", "-"] = "--" if "equal" in words else "-"
            own = colours[name] if name else colour
            axes.add_line(
                Line2D([x, x2], [y, y2], color=own, linewidth=thick, linestyle=style, **given)
            )
        case "polyline":
            across, up = _points(shape, corner)
            ranks = (_RANKS[word] for word in words if word in _RANKS)
            name, thick, alpha = next(ranks, ("", 2.0, 1.0))
            own = colours[name] if name else colour
            axes.add_line(Line2D(across, up, color=own, linewidth=thick, alpha=alpha, **given))
        case "polygon":
            pairs = list(zip(*_points(shape, corner), strict=True))
            axes.add_patch(Polygon(pairs, color=colour, alpha=0.18, linewidth=0, **given))
        case "circle":
            radius = float(shape.get("r", 1))
            axes.add_patch(Circle(at("cx", "cy"), radius, color=colour, linewidth=0, **given))
        case "rect":
            opacity = re.search(r"fill-opacity:([\d.]+)", shape.get("style") or "")
            wide, high = float(shape.get("width", 0)), float(shape.get("height", 0))
            alpha = float(opacity[1]) if opacity else 1.0
            axes.add_patch(
                Rectangle(at("x", "y"), wide, high, color=colour, alpha=alpha, linewidth=0, **given)
            )
        case "text":
            _write(axes, shape, at("x", "y"), "tick" in words, colours, given)


def _write(
    axes: Axes,
    shape: ElementTree.Element,
    place: tuple[float, float],
    is_tick: bool,
    colours: dict[str, str],
    given: dict[str, Any],
) -> None:
    from matplotlib.patheffects import withStroke

    side = {"start": "left", "middle": "center", "end": "right"}[shape.get("text-anchor", "start")]
    around = [withStroke(linewidth=4, foreground=colours["back"])] if is_tick else []
    axes.text(
        *place, shape.text or "", ha=side, va="baseline", size=11 if is_tick else 12,
        color=colours["text"], parse_math=False, path_effects=around, **given,
    )  # fmt: skip


def _points(
    shape: ElementTree.Element, corner: tuple[float, float]
) -> tuple[list[float], list[float]]:
    pairs = [pair.split(",") for pair in (shape.get("points") or "").split()]
    return [float(x) + corner[0] for x, _ in pairs], [float(y) + corner[1] for _, y in pairs]
