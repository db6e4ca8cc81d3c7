"""A study in words: the live table's rows, the table of `--show`, the CSV of `--export`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.figures import accuracy_text
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.records.ranking import Ranked
from tuning.study import Trial

_DEFAULT = asdict(TrainingConfig())
_FIELDS = (
    "number", "state", "epochs", "log_loss", "log_loss_se", "accuracy", "accuracy_se", "rows",
    "seconds", "reason",
)  # fmt: skip


def header(metric: str | None) -> str:
    """Return the live table's header.

    Args:
        metric: What trials are ranked by; None for log-loss.
    """
    ranked = metric or "log-loss"
    return _row("trial", ranked, "best", "accuracy", "epochs", "time", "left", "values")


def ranking_text(one: Trial | Ranked, *, digits: int = 4, noise: bool = False) -> str:
    """Return what a trial or a configuration is ranked by, with its name.

    Args:
        one: Which.
        digits: Places after the point.
        noise: Add the standard error.
    """
    name, value, se = ranking_of(one)
    return f"{name} {value:.{digits}f}" + (f" ± {se:.{digits}f}" if noise else "")


def ranking_of(one: Trial | Ranked) -> tuple[str, float, float]:
    """Return what a trial or a configuration is ranked by: name, value and standard error."""
    if one.metric is not None:
        return one.metric.name, one.metric.value, one.metric.se
    return "log-loss", one.log_loss or 0.0, one.log_loss_se or 0.0


def metric_of(some: Sequence[Trial | Ranked]) -> str | None:
    """Return the metric that trials or configurations are ranked by; None for log-loss."""
    return next((one.metric.name for one in some if one.metric is not None), None)


def line(trial: Trial, best: Ranked | None, seconds_left: float) -> str:
    """Return the live table's row of a trial that has ended.

    Args:
        trial: The trial.
        best: The best so far.
        seconds_left: For the rest of the search; infinite if nobody knows.
    """
    scored = trial.log_loss is not None and trial.accuracy is not None
    return _row(
        str(trial.number),
        f"{ranking_of(trial)[1]:.4f}" if scored else trial.state,
        f"{ranking_of(best)[1]:.4f}" if best is not None else "",
        f"{trial.accuracy:.4f}" if scored else "",
        str(trial.epochs),
        _time(trial.seconds),
        _time(seconds_left),
        values(trial.config) if scored else f"{trial.reason} ({values(trial.config)})",
    )


def values(config: TrainingConfig) -> str:
    """Return what distinguishes a configuration from the default one."""
    own = asdict(config)
    found = [f"{name} {_short(own[name])}" for name in own if own[name] != _DEFAULT[name]]
    return ", ".join(found) or "default"


def table(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """Return the table of a study, header first; times as numbers, which a page can sort."""
    metric = metric_of(trials)
    ranked = () if metric is None else (metric,)
    rows: list[tuple[str, ...]] = [
        ("trial", "state", *ranked, "log-loss", "accuracy", "epochs", "seconds", "values")
    ]
    for trial in trials:
        scored = trial.log_loss is not None and trial.accuracy is not None
        rows.append(
            (
                str(trial.number),
                trial.state,
                *(
                    f"{trial.metric.value:.4f} ± {trial.metric.se:.4f}" if trial.metric else ""
                    for _ in ranked
                ),
                f"{trial.log_loss:.4f} ± {trial.log_loss_se or 0:.4f}" if scored else "",
                accuracy_text(trial.accuracy or 0.0, trial.accuracy_se, trial.rows)
                if scored
                else "",
                str(trial.epochs),
                f"{trial.seconds:.1f}" if trial.seconds else "",
                "; ".join(filter(None, [values(trial.config), trial.reason])),
            )
        )
    return rows


def export(trials: Sequence[Trial], path: Path) -> None:
    """Write a study as CSV, a line for each trial: its result, then every field's value.

    Raises:
        ArtefactError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    metric = metric_of(trials)
    ranked = () if metric is None else (metric, f"{metric}_se")
    writer.writerow([*_FIELDS, *ranked, "digest", *_DEFAULT])
    for trial in trials:
        own: dict[str, Any] = asdict(trial.config)
        writer.writerow(
            [
                *("" if (value := getattr(trial, name)) is None else value for name in _FIELDS),
                *((trial.metric.value, trial.metric.se) if trial.metric else ("" for _ in ranked)),
                trial.config.digest,
                *(own[name] for name in _DEFAULT),
            ]
        )
    write_bytes(path, text.getvalue().encode())


def _row(*cells: str) -> str:
    widths = (5, 9, 7, 8, 6, 6, 6)
    fixed = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
    return f"{fixed}  {cells[-1]}"


def _time(seconds: float) -> str:
    if not math.isfinite(seconds):
        return ""
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60}:{whole % 60:02d}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
