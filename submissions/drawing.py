"""Pictures: the sheet of images that a submission changes, and CV against public score."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.files import write_bytes
from kaggle_digits.kaggle_service.transport import clean
from kaggle_digits.shell.report import charts
from kaggle_digits.shell.report.charts import Axis, Series
from kaggle_digits.shell.report.parts import Chart
from submissions.forecast import Change, Difference, Forecast
from submissions.leaderboard import Standing, Summary
from submissions.noise import Z95, limits

if TYPE_CHECKING:
    import numpy as np

_COLUMNS = 12
_MOST_IMAGES = 36
_MOST_SECTIONS = 5
_TITLE = 0.5  # a section's title, in the height of a line of images
_STRIP = 48
_CAPTION = 12  # signs above an image
NO_SCORE = "No submission has a public score yet."


def draw_sheet(path: Path, forecast: Forecast, images: np.ndarray) -> int:
    """Draw the images that a submission predicts differently from earlier ones, as a PNG.

    Args:
        path: Where it goes.
        forecast: The differences.
        images: uint8 [test rows, height, width] or [test rows, height, width, 3].

    Returns:
        How many images are shown: of the five newest submissions that differ, 36 each at most.
    """
    sections = [one for one in forecast.differences if one.changes][:_MOST_SECTIONS]
    lines = [-(-min(len(one.changes), _MOST_IMAGES) // _COLUMNS) for one in sections]
    total = sum(lines) + _TITLE * len(lines) or 1.0
    figure = _figure(9.6, total)
    shown = 0
    if not sections:
        figure.text(0.5, 0.5, "No earlier submission differs.", ha="center", va="center")
    top = total
    for one, count in zip(sections, lines, strict=True):
        top -= _TITLE
        figure.text(
            0.02,
            (top + 0.1) / total,
            _title(one),
            fontsize=10,
            fontweight="bold",
            parse_math=False,
        )
        for number, change in enumerate(one.changes[:_MOST_IMAGES]):
            row, column = divmod(number, _COLUMNS)
            box = (
                (column + 0.1) / _COLUMNS,
                (top - 1 - row + 0.04) / total,
                0.8 / _COLUMNS,
                0.72 / total,
            )
            axes = figure.add_axes(box)
            # Of images in colour, the scale of grey is left aside.
            axes.imshow(images[change.row], cmap="gray_r", vmin=0, vmax=255)
            axes.set_axis_off()
            axes.set_title(_caption(change), fontsize=7, pad=2, parse_math=False)
            shown += 1
        top -= count
    _save(figure, path)
    return shown


def draw_plot(path: Path, summary: Summary) -> None:
    """Draw CV and public scores, by date and against each other, as a PNG.

    Args:
        path: Where it goes.
        summary: Our submissions.
    """
    from kaggle_digits.shell.report.raster import raster

    write_bytes(path, raster(charts_of(summary), NO_SCORE))


def charts_of(summary: Summary) -> list[Chart]:
    """Draw CV and public scores, by date and against each other; none without a public score.

    Args:
        summary: Our submissions.
    """
    standings = [one for one in summary.standings if one.record.public is not None]
    judged = [one for one in standings if one.gap is not None]
    scale = _Scale(summary.metric)
    return ([_by_date(standings, scale)] if standings else []) + (
        [_against(judged, scale)] if judged else []
    )


class _Scale:
    """The scale of a competition's scores.

    Args:
        metric: What they are; None for accuracy.
    """

    def __init__(self, metric: str | None) -> None:
        self.name = metric or "accuracy"
        self._least, self._most = limits(metric)
        bounded = math.isfinite(self._most)
        self.limits = (self._least, self._most) if bounded else None

    def band(self, score: float, one: Standing) -> tuple[float, float]:
        """Return where 95 % of the noise around a score lies."""
        half = Z95 * (one.gap.sd if one.gap else 0.0)
        return max(score - half, self._least), min(score + half, self._most)


def _by_date(standings: Sequence[Standing], scale: _Scale) -> Chart:
    names = [f"#{one.record.ref}" for one in standings]
    points, ends, public = [], [], []
    for index, one in enumerate(standings):
        public.append((float(index), one.record.public or 0.0))
        if one.gap is not None and one.cv is not None:
            points.append((float(index), one.cv[0]))
            ends.append(scale.band(one.cv[0], one))
    return charts.plot(
        "Scores by date",
        Axis("submission, by date", names=names),
        Axis(scale.name, limits=scale.limits),
        [Series("CV, with 95 % of the noise", points, ends), Series("public", public)],
        note="Where the public score is within the noise, chance explains its distance from CV.",
    )


def _against(standings: Sequence[Standing], scale: _Scale) -> Chart:
    points = [(one.cv[0] if one.cv else 0.0, one.record.public or 0.0) for one in standings]
    ends = [scale.band(one.record.public or 0.0, one) for one in standings]
    names = [f"#{one.record.ref}" for one in standings]
    return charts.plot(
        "CV against public score",
        Axis(f"CV {scale.name}", limits=scale.limits),
        Axis("public score", limits=scale.limits),
        [Series("", points, ends, names, is_named=True)],
        note="With 95 % of the noise; on the broken line both are equal.",
        equal=True,
    )


def draw_strips(summary: Summary) -> list[str]:
    """Draw each submission as a line of text: CV, its noise, and the public score.

    Args:
        summary: Our submissions; those without a public score are left out.

    Returns:
        Lines of at most 72 signs, the scale first; none if there is nothing to draw.
    """
    least, most = limits(summary.metric)
    shown = [one for one in summary.standings if one.record.public is not None]
    if not shown:
        return []
    values = []
    for one in shown:
        values.append(one.record.public or 0.0)
        if one.cv is not None and one.gap is not None:
            half = Z95 * one.gap.sd
            values += [one.cv[0] - half, one.cv[0] + half]
    low, high = max(least, min(values)), min(most, max(values))
    if high - low < 1e-4:
        high = min(most, high + 5e-5)
        low = max(least, high - 1e-4)
    name = max(len(str(one.record.ref)) for one in shown) + 1
    lines = [f"{'':>{name}}  {low:<{_STRIP // 2}.4f}{high:>{_STRIP - _STRIP // 2}.4f}"]

    def column(value: float) -> int:
        return max(0, min(_STRIP - 1, round((value - low) / (high - low) * (_STRIP - 1))))

    for one in shown:
        strip = [" "] * _STRIP
        cv, public = one.cv[0] if one.cv else None, one.record.public or 0.0
        if cv is not None and one.gap is not None:
            half = Z95 * one.gap.sd
            for place in range(column(cv - half), column(cv + half) + 1):
                strip[place] = "·"
            strip[column(cv)] = "C"
        at = column(public)
        strip[at] = "X" if strip[at] == "C" else "P"
        lines.append(f"{'#' + str(one.record.ref):>{name}}  {''.join(strip)}")
    lines.append(f"{'':>{name}}  C CV, P public, X both, ··· 95 % of the public part's noise")
    return lines


def _caption(change: Change) -> str:
    """Return what stands above an image, short enough for the room of one."""
    key, before, now = (clean(text) for text in (change.id, change.before, change.now))
    if len(key) + len(before) + len(now) + 3 <= _CAPTION:
        return f"{key}: {before}→{now}"
    if len(key) >= _CAPTION:
        key = f"…{key[2 - _CAPTION :]}"  # names often differ at their end
    room = (_CAPTION - 2) // 2
    before, now = (text if len(text) <= room else f"{text[: room - 1]}…" for text in (before, now))
    return f"{key}\n{before}→{now}"


def _title(one: Difference) -> str:
    score = f" ({one.record.public_score})" if one.record.public_score else ""
    cut = f", {_MOST_IMAGES} shown" if len(one.changes) > _MOST_IMAGES else ""
    return (
        f"against #{one.record.ref or '?'}{score}: {len(one.changes)} images{cut}, "
        f"{'' if one.largest is None else f'public score changes by at most {one.largest:.5f}   '}"
        "(id: before→now)"
    )


def _figure(width: float, height: float) -> Any:
    """Return a figure in inches that no display and no global state has to do with."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    write_bytes(path, out.getvalue())
