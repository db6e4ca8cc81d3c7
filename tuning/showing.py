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
from tuning.study import Trial

_DEFAULT = asdict(TrainingConfig())
_FIELDS = (
    "number", "state", "epochs", "log_loss", "log_loss_se", "accuracy", "accuracy_se", "rows",
    "seconds", "reason",
)  # fmt: skip


def header() -> str:
    """Return the live table's header."""
    return _row("trial", "log-loss", "best", "accuracy", "epochs", "time", "left", "values")


def line(trial: Trial, best: float | None, seconds_left: float) -> str:
    """Return the live table's row of a trial that has ended.

    Args:
        trial: The trial.
        best: The best log-loss so far.
        seconds_left: For the rest of the search; infinite if nobody knows.
    """
    scored = trial.log_loss is not None and trial.accuracy is not None
    return _row(
        str(trial.number),
        f"{trial.log_loss:.4f}" if scored else trial.state,
        f"{best:.4f}" if best is not None else "",
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
    """Return the table of a study, header first."""
    rows: list[tuple[str, ...]] = [
        ("trial", "state", "log-loss", "accuracy", "epochs", "time", "values")
    ]
    for trial in trials:
        scored = trial.log_loss is not None and trial.accuracy is not None
        rows.append(
            (
                str(trial.number),
                trial.state,
                f"{trial.log_loss:.4f} ± {trial.log_loss_se or 0:.4f}" if scored else "",
                accuracy_text(trial.accuracy or 0.0, trial.accuracy_se, trial.rows)
                if scored
                else "",
                str(trial.epochs),
                _time(trial.seconds) if trial.seconds else "",
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
    writer.writerow([*_FIELDS, "digest", *_DEFAULT])
    for trial in trials:
        own: dict[str, Any] = asdict(trial.config)
        writer.writerow(
            [
                *("" if (value := getattr(trial, name)) is None else value for name in _FIELDS),
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
