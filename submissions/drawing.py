"""Pictures: the sheet of images that a submission changes, and CV against public score."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.ground.files import write_bytes
from kaggle_digits.kaggle_service.transport import clean
from submissions.forecast import Change, Difference, Forecast
from submissions.leaderboard import Standing, Summary
from submissions.noise import gap

if TYPE_CHECKING:
    import numpy as np

_COLUMNS = 12
_MOST_IMAGES = 36
_MOST_SECTIONS = 5
_TITLE = 0.5  # a section's title, in the height of a line of images
_STRIP = 48
_SIGNS_BELOW = 66  # of the labels' size, along the axis of dates
_CAPTION = 12  # signs above an image
_Z95 = 1.959964


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
    figure = _figure(11, 5.2)
    by_date, against = figure.subplots(1, 2)
    standings = [one for one in summary.standings if one.record.public is not None]
    _plot_by_date(by_date, standings)
    _plot_against(
        against,
        [one for one in standings if one.record.cv_accuracy is not None],
        summary.rows or summary.expected,
    )
    for axes in (by_date, against):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    figure.tight_layout()
    _name_points(figure, against, [one for one in standings if one.record.cv_accuracy is not None])
    _save(figure, path)


def _plot_by_date(axes: Any, standings: Sequence[Standing]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title("by date (UTC)")
    axes.set_ylabel("accuracy")
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    if not standings:
        return
    judged = [(place, one) for place, one in enumerate(standings) if one.gap is not None]
    if judged:
        cv = [one.record.cv_accuracy or 0.0 for _, one in judged]
        half = [_Z95 * one.gap.sd for _, one in judged if one.gap is not None]
        pairs = list(zip(cv, half, strict=True))
        axes.errorbar(
            [place - 0.08 for place, _ in judged],
            cv,
            yerr=[[min(y, x) for x, y in pairs], [min(y, 1 - x) for x, y in pairs]],
            fmt="s",
            color="tab:blue",
            capsize=4,
            clip_on=False,
            label="CV, with 95 % of the noise",
        )
    places = range(len(standings))
    axes.plot(
        [place + 0.08 for place in places],
        [one.record.public for one in standings],
        "o",
        color="tab:orange",
        clip_on=False,
        label="public",
    )
    longest = max(len(f"#{one.record.ref}") for one in standings)
    step = -(-len(standings) // max(2, _SIGNS_BELOW // max(7, longest + 2)))
    labels = [f"{one.record.when[5:10]}\n#{one.record.ref}" for one in standings]
    axes.set_xticks(list(places)[::step], labels[::step], fontsize=7)
    axes.set_xlim(-0.5, len(standings) - 0.5)
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.0, high))


def _plot_against(axes: Any, standings: Sequence[Standing], rows: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title("CV against public")
    axes.set_xlabel("CV accuracy")
    axes.set_ylabel("public score")
    for which in (axes.xaxis, axes.yaxis):
        which.set_major_locator(MaxNLocator(5))
    axes.ticklabel_format(useOffset=False)
    if not standings:
        return
    cv = [one.record.cv_accuracy or 0.0 for one in standings]
    public = [one.record.public or 0.0 for one in standings]
    margin = max(1e-4, 1.2 * max(one.gap.sd for one in standings if one.gap))
    low = max(0.0, min(cv + public) - margin)
    high = min(1.0, max(cv + public) + margin)
    line = [low + (high - low) * step / 100 for step in range(101)]
    ses = [one.record.cv_accuracy_se or 0.0 for one in standings]
    half = [_Z95 * gap(x, sum(ses) / len(ses), x, rows).sd for x in line]
    axes.fill_between(
        line,
        [x - y for x, y in zip(line, half, strict=True)],
        [x + y for x, y in zip(line, half, strict=True)],
        color="tab:blue",
        alpha=0.12,
        label="95 % of the noise",
    )
    axes.plot([low, high], [low, high], color="gray", linewidth=1, label="public = CV")
    axes.plot(cv, public, "o", color="tab:orange", clip_on=False)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)


def _name_points(figure: Any, axes: Any, standings: Sequence[Standing]) -> None:
    """Write references beside points, the best first, where they cover nothing."""
    from matplotlib.transforms import Bbox

    groups: dict[tuple[float, float], list[str]] = {}
    for one in sorted(standings, key=lambda one: -(one.record.public or 0.0)):
        place = (one.record.cv_accuracy or 0.0, one.record.public or 0.0)
        groups.setdefault(place, []).append(f"#{one.record.ref}")
    figure.draw_without_rendering()
    inside = axes.get_window_extent()
    taken = []
    for place in groups:
        x, y = axes.transData.transform(place)
        taken.append(Bbox.from_extents(x - 4, y - 4, x + 4, y + 4))
    for place, names in groups.items():
        text = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        for across, up in ((5, -9), (5, 4), (-5, -9), (-5, 4)):
            label = axes.annotate(
                text,
                place,
                xytext=(across, up),
                textcoords="offset points",
                ha="left" if across > 0 else "right",
                fontsize=7,
            )
            box = label.get_window_extent()
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0
            if within and box.y1 <= inside.y1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def draw_strips(standings: Sequence[Standing]) -> list[str]:
    """Draw each submission as a line of text: CV, its noise, and the public score.

    Args:
        standings: Ours, the oldest first; those without a public score are left out.

    Returns:
        Lines of at most 72 signs, the scale first; none if there is nothing to draw.
    """
    shown = [one for one in standings if one.record.public is not None]
    if not shown:
        return []
    values = []
    for one in shown:
        values.append(one.record.public or 0.0)
        if one.record.cv_accuracy is not None and one.gap is not None:
            half = _Z95 * one.gap.sd
            values += [one.record.cv_accuracy - half, one.record.cv_accuracy + half]
    low, high = max(0.0, min(values)), min(1.0, max(values))
    if high - low < 1e-4:
        high = min(1.0, high + 5e-5)
        low = max(0.0, high - 1e-4)
    name = max(len(str(one.record.ref)) for one in shown) + 1
    lines = [f"{'':>{name}}  {low:<{_STRIP // 2}.4f}{high:>{_STRIP - _STRIP // 2}.4f}"]

    def column(value: float) -> int:
        return max(0, min(_STRIP - 1, round((value - low) / (high - low) * (_STRIP - 1))))

    for one in shown:
        strip = [" "] * _STRIP
        cv, public = one.record.cv_accuracy, one.record.public or 0.0
        if cv is not None and one.gap is not None:
            half = _Z95 * one.gap.sd
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
        f"public score changes by at most {one.largest:.5f}   (id: before→now)"
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
