"""The study as parallel coordinates: an axis for each value that varied, a line for each trial.

`figure` says where everything lies, in units of the axes; the report's charts draw it: on its page,
as a PNG, and on a page of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.files import require_output, write_bytes
from kaggle_digits.shell.report import charts
from kaggle_digits.shell.report.parts import Chart, Table
from tuning.showing import metric_of
from tuning.study import Trial

_LOGARITHMIC = ("learning_rate", "weight_decay")
_RESULT = "log-loss"
_MOST_TICKS = 7
_SPREAD = 0.06
_NEAR = 0.045
"""Texts beside an axis that are nearer than this to each other would overlap."""

_LEGEND = (
    "A line is a trial: blue the best tenth, green the better half. At the right is what ranks "
    "them, lower is better."
)


@dataclass(frozen=True, slots=True)
class ParallelAxis:
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
class ParallelPlot:
    """All of the plot.

    Args:
        axes: From left to right; the last is the log-loss, or what a metric that ranks lacks
            of 1: better below.
        lines: From the worst to the best, so that the best are drawn on top.
    """

    axes: tuple[ParallelAxis, ...]
    lines: tuple[Line, ...]


def figure(trials: Sequence[Trial]) -> ParallelPlot:
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
    metric = metric_of(done)
    result = _RESULT if metric is None else f"1 - {metric}"
    rows: list[dict[str, Any]] = [
        asdict(trial.config) | {"epochs": trial.epochs, result: trial.loss} for trial in done
    ]
    names = [name for name in rows[0] if len({row[name] for row in rows}) > 1 or name == result]
    # Log-losses spread over decades; the good ones would lie on each other.
    scales = {
        name: _Scale(name, [row[name] for row in rows], is_result=name == result) for name in names
    }
    order = sorted(range(len(done)), key=lambda index: -rows[index][result])
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
    return ParallelPlot(tuple(ParallelAxis(name, scales[name].ticks()) for name in names), lines)


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
    from kaggle_digits.shell.report.page import render_parts
    from kaggle_digits.shell.report.raster import raster

    page = require_plot(path)
    drawn = coordinates(trials)
    count = len(drawn.data.rows)
    write_bytes(path, raster([drawn], ""))
    write_bytes(page, render_parts(f"Study of {count} trials", [drawn]))
    return path, page


def coordinates(trials: Sequence[Trial]) -> Chart:
    """Draw the completed trials as parallel coordinates.

    Raises:
        ArtefactError: Fewer than two are completed.
    """
    laid_out = figure(trials)
    rows = [line.label.split(": ", 1) for line in reversed(laid_out.lines)]
    return charts.parallel(
        "Parallel coordinates",
        [(axis.name, axis.ticks) for axis in laid_out.axes],
        [(line.label, line.places, _strength(line.rank)) for line in laid_out.lines],
        Table("Parallel coordinates, best first", ("trial", "values"), rows),
        note=_LEGEND,
    )


class _Scale:
    """Places values on an axis: names and small sets evenly, ranges by their (log of) value."""

    def __init__(self, name: str, values: Sequence[Any], *, is_result: bool) -> None:
        import math

        distinct = sorted(set(values))
        self._evenly = len(distinct) <= _MOST_TICKS and not is_result
        if self._evenly or isinstance(distinct[0], str):
            self._evenly = True
            self._places = {
                value: index / max(1, len(distinct) - 1) for index, value in enumerate(distinct)
            }
            return
        is_log = (is_result or name in _LOGARITHMIC) and distinct[0] > 0
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


def _strength(rank: float) -> int:
    """Return which of three groups a line's rank is in: 0 the best tenth, 1 the better half."""
    return 0 if rank < 0.1 else 1 if rank < 0.5 else 2
