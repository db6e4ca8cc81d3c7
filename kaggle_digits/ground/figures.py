"""The figures that probabilities are judged by, and how they are written.

An accuracy stands with its standard error, or with a bound where there is none. A binomial
standard error of 0 does not say that there is no error: none was seen. Then the bound of Clopper
and Pearson (Biometrika 26, 1934) is given: with no error in n rows the share of errors is below
1 - 0.05^(1/n) at 95 %, some 3/n ("rule of three").
"""

from __future__ import annotations

from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.progress import counted

FIGURES = ("accuracy", "accuracy_se", "log_loss", "log_loss_se")
"""What probabilities are judged by, each with its standard error, as artefacts name them."""

_LEVEL = 0.95


def require_figures(fields: Fields, prefix: str = "") -> None:
    """Refuse an artefact without the figures.

    Args:
        fields: Where they stand.
        prefix: What stands before their names.

    Raises:
        FormError: One is missing, or no number.
    """
    for name in FIGURES:
        fields.number(f"{prefix}{name}")


def corrections_text(corrected: int, left_out: int) -> str:
    """Return how many training labels are corrected as a person reads it."""
    return f"{corrected:,} corrected, {counted(left_out, 'row')} left out"


def error_bound(rows: int) -> float:
    """Return the share of errors that none in so many rows leaves possible at 95 %, 0 to 1."""
    return float(1 - (1 - _LEVEL) ** (1 / rows))


def accuracy_text(accuracy: float, se: float | None, rows: int | None, digits: int = 4) -> str:
    """Return an accuracy as a person reads it.

    Args:
        accuracy: 0 to 1.
        se: Its standard error; None or 0 where it is not known.
        rows: Rows it was taken on; None or 0 where that is not known.
        digits: Places after the point.
    """
    text = f"{accuracy:.{digits}f}"
    if accuracy == 1 and rows:
        return f"{text} (error < {error_bound(rows):.2g})"
    return f"{text} ± {se:.{digits}f}" if se else text
