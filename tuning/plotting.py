"""The study as parallel coordinates: an axis for each value that varied, a line for each trial.

`figure` says where everything lies, in units of the axes; the PNG is drawn from it by Matplotlib,
the HTML page is one file with an SVG and a few lines of script, without anything from elsewhere.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.files import require_output, write_bytes
from tuning.study import Trial

_LOGARITHMIC = ("learning_rate", "weight_decay")
_RESULT = "log-loss"
_MOST_TICKS = 7
_SPREAD = 0.06
_NEAR = 0.045
"""Texts beside an axis that are nearer than this to each other would overlap."""
_COLOURS = ("#2c7fb8", "#7fcdbb", "#c7c7c7")
"""From the best trials to the worst ones."""

LEGEND = (
    "A line is a trial: blue the best tenth, green the better half. Log-loss at the right, lower "
    "is better."
)


@dataclass(frozen=True, slots=True)
class Axis:
    """One vertical axis.

    Args:
        name: What it shows.
        ticks: Place between 0 (below) and 1, and the text beside it.
    """

    name: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One trial.

    Args:
        label: The trial in words.
        places: Its place on each axis, 0 to 1; beside values that many trials share, a little
            above or below, so that lines do not hide one another.
        rank: 0 for the best trial, 1 for the worst.
    """

    label: str
    places: tuple[float, ...]
    rank: float


@dataclass(frozen=True, slots=True)
class Figure:
    """All of the plot.

    Args:
        axes: From left to right; the last is the log-loss, better below.
        lines: From the worst to the best, so that the best are drawn on top.
    """

    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]


def figure(trials: Sequence[Trial]) -> Figure:
    """Lay out the completed trials.

    Raises:
        ArtefactError: Fewer than two are completed.
    """
    done = [trial for trial in trials if trial.log_loss is not None]
    if len(done) < 2:
        raise ArtefactError(
            f"A plot needs two completed trials or more; the study has {len(done)}.",
            mend="Call `kaggle-digits tune` with more --trials first.",
        )
    rows: list[dict[str, Any]] = [
        asdict(trial.config) | {"epochs": trial.epochs, _RESULT: trial.log_loss} for trial in done
    ]
    names = [name for name in rows[0] if len({row[name] for row in rows}) > 1 or name == _RESULT]
    # Log-losses spread over decades; the good ones would lie on each other.
    scales = {name: _Scale(name, [row[name] for row in rows]) for name in names}
    order = sorted(range(len(done)), key=lambda index: -rows[index][_RESULT])
    lines = tuple(
        Line(
            label=f"trial {done[index].number}: "
            + ", ".join(f"{name} {_text(rows[index][name])}" for name in reversed(names)),
            places=tuple(
                _spread(scales[name], scales[name].place(rows[index][name]), index, len(done))
                for name in names
            ),
            rank=1 - place / (len(order) - 1),
        )
        for place, index in enumerate(order)
    )
    return Figure(tuple(Axis(name, scales[name].ticks()) for name in names), lines)


def require_plot(path: Path) -> Path:
    """Refuse a place that cannot take a plot, and return its page's, which lies beside it.

    Raises:
        ConfigurationError: The path does not end in .png, or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ConfigurationError(
            f"--plot was given as {path}; expected a path that ends in .png.",
            mend="The page goes beside it, with .html.",
        )
    page = path.with_suffix(".html")
    for place in (path, page):
        require_output(place, "--plot")
    return page


def plot(trials: Sequence[Trial], path: Path) -> tuple[Path, Path]:
    """Write the plot as PNG and as an HTML page beside it.

    Args:
        trials: The study's trials.
        path: The PNG's.

    Returns:
        Both files' paths.

    Raises:
        ArtefactError: Too few trials, or the place cannot be written.
        ConfigurationError: As `require_plot`.
    """
    page = require_plot(path)
    laid_out = figure(trials)
    write_bytes(path, _png(laid_out))
    write_bytes(page, _html(laid_out).encode())
    return path, page


class _Scale:
    """Places values on an axis: names and small sets evenly, ranges by their (log of) value."""

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        import math

        distinct = sorted(set(values))
        self._evenly = len(distinct) <= _MOST_TICKS and name != _RESULT
        if self._evenly or isinstance(distinct[0], str):
            self._evenly = True
            self._places = {
                value: index / max(1, len(distinct) - 1) for index, value in enumerate(distinct)
            }
            return
        is_log = name in (*_LOGARITHMIC, _RESULT) and distinct[0] > 0
        self._of = (lambda value: math.log10(value)) if is_log else float
        self._back = (lambda place: 10.0**place) if is_log else float
        self._low, self._high = self._of(distinct[0]), self._of(distinct[-1])

    @property
    def is_even(self) -> bool:
        """Whether values stand at even distances."""
        return self._evenly

    def place(self, value: Any) -> float:
        """Return a value's place, 0 to 1."""
        if self._evenly:
            return float(self._places[value])
        if self._high == self._low:
            return 0.5
        return float((self._of(value) - self._low) / (self._high - self._low))

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return places and texts."""
        if self._evenly:
            half = _SPREAD / 2
            return _apart(
                [
                    (half + (1 - _SPREAD) * place, _text(value))
                    for value, place in self._places.items()
                ]
            )
        if self._high == self._low:
            return ((0.5, _text(self._back(self._low))),)
        span = self._high - self._low
        return _apart(
            [(place / 4, _text(self._back(self._low + span * place / 4))) for place in range(5)]
        )


def _spread(scale: _Scale, place: float, index: int, count: int) -> float:
    """Return a place moved a little beside those of other trials, within the axis."""
    if not scale.is_even:
        return place
    half = _SPREAD / 2
    return half + (1 - _SPREAD) * place + _SPREAD * (index / (count - 1) - 0.5)


def _apart(ticks: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """Leave out texts that would stand on others or only say the same; both ends stay."""
    kept: list[tuple[float, str]] = []
    for place, text in ticks:
        if kept and (place - kept[-1][0] < _NEAR or text == kept[-1][1]):
            continue
        kept.append((place, text))
    last = ticks[-1]
    if kept[-1] != last and last[1] != kept[-1][1]:
        kept[-1] = last
    return tuple(kept)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def strength(rank: float) -> int:
    """Return which of three groups a line's rank is in: 0 the best tenth, 1 the better half."""
    return 0 if rank < 0.1 else 1 if rank < 0.5 else 2


def _colour(rank: float) -> str:
    return _COLOURS[strength(rank)]


def _png(laid_out: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as MatplotlibFigure

    count = len(laid_out.axes)
    drawn = MatplotlibFigure(figsize=(max(7.0, 1.15 * count), 5.2), dpi=130)
    canvas = FigureCanvasAgg(drawn)
    axes = drawn.add_axes((0.04, 0.17, 0.9, 0.73))
    for line in laid_out.lines:
        axes.plot(
            range(count), line.places, color=_colour(line.rank),
            linewidth=2.0 if line.rank < 0.1 else 1.0,
            alpha=1.0 if line.rank < 0.5 else 0.6, solid_joinstyle="round",
        )  # fmt: skip
    for index, axis in enumerate(laid_out.axes):
        axes.axvline(index, color="#555555", linewidth=0.8, zorder=5)
        for place, text in axis.ticks:
            axes.annotate(
                text, (index, place), parse_math=False,
                xytext=(4, 0), textcoords="offset points", fontsize=7,
                va="center", zorder=6,
                bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.8},
            )  # fmt: skip
        axes.annotate(
            axis.name.replace("_", "\n"), (index, -0.06), parse_math=False,
            fontsize=8, ha="center", va="top",
            annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(-0.1, count - 1 + 0.45)
    axes.set_ylim(-0.04, 1.04)
    axes.axis("off")
    drawn.suptitle(
        f"{len(laid_out.lines)} trials: blue the best tenth, green the better half, "
        "log-loss at the right, lower is better",
        fontsize=9, x=0.04, ha="left",
    )  # fmt: skip
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


_GAP, _HEIGHT, _LEFT, _TOP = 105, 420, 40, 20


def _html(laid_out: Figure) -> str:
    def x(index: int) -> int:
        return _LEFT + _GAP * index

    def y(place: float) -> float:
        return round(_TOP + _HEIGHT * (1 - place), 1)

    parts = []
    for line in laid_out.lines:
        points = " ".join(f"{x(index)},{y(place)}" for index, place in enumerate(line.places))
        parts.append(
            f'<polyline points="{points}" stroke="{_colour(line.rank)}" '
            f'data-label="{html.escape(line.label)}"/>'
        )
    for index, axis in enumerate(laid_out.axes):
        parts.append(f'<line x1="{x(index)}" x2="{x(index)}" y1="{_TOP}" y2="{_TOP + _HEIGHT}"/>')
        parts.append(
            '<text class="name">'
            + "".join(
                f'<tspan x="{x(index)}" y="{_TOP + _HEIGHT + 22 + 13 * row}">{html.escape(word)}'
                "</tspan>"
                for row, word in enumerate(axis.name.split("_"))
            )
            + "</text>"
        )
        parts += [
            f'<text x="{x(index) + 4}" y="{y(place) + 3}">{html.escape(text)}</text>'
            for place, text in axis.ticks
        ]
    width = x(len(laid_out.axes) - 1) + 80
    return _PAGE.format(
        trials=len(laid_out.lines),
        legend=LEGEND,
        width=width,
        height=_TOP + _HEIGHT + 60,
        body="\n".join(parts),
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Study of {trials} trials</title>
<style>
body {{ font: 14px sans-serif; margin: 1.5em; }}
svg {{ font-size: 10px; display: block; width: 100%; max-width: {width}px; height: auto; }}
polyline {{ fill: none; stroke-width: 1.5; opacity: .7; }}
polyline.on {{ stroke: #d95f0e; stroke-width: 3; opacity: 1; }}
line {{ stroke: #555; pointer-events: none; }}
text {{ paint-order: stroke; stroke: #fff; stroke-width: 3px; pointer-events: none; }}
text.name {{ text-anchor: middle; font-size: 11px; font-weight: bold; }}
#label {{ min-height: 3em; }}
</style>
</head>
<body>
<h1>Study of {trials} trials</h1>
<p>{legend} Point at a line to see its trial.</p>
<p id="label"></p>
<svg viewBox="0 0 {width} {height}">
{body}
</svg>
<script>
const label = document.getElementById("label");
let on = null;
for (const line of document.querySelectorAll("polyline")) {{
  line.addEventListener("mouseenter", () => {{
    if (on) on.classList.remove("on");
    on = line;
    line.classList.add("on");
    label.textContent = line.dataset.label;
  }});
}}
</script>
</body>
</html>
"""
