"""The figures that probabilities are judged by, and how they are written.

An accuracy stands with its standard error, or with a bound where there is none. A binomial
standard error of 0 does not say that there is no error: none was seen. Then the bound of Clopper
and Pearson (Biometrika 26, 1934) is given: with no error in n rows the share of errors is below
1 - 0.05^(1/n) at 95 %, some 3/n ("rule of three").
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.progress import counted

FIGURES = ("accuracy", "accuracy_se", "log_loss", "log_loss_se")
"""What probabilities are judged by, each with its standard error, as artefacts name them."""

_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric's value.

    Args:
        name: Of the metric, one of `names.METRICS`.
        value: On the rows given.
        se: Its standard error.
        rows: How many rows.
    """

    name: str
    value: float
    se: float
    rows: int

    def __str__(self) -> str:
        """Return it as a person reads it."""
        return f"{self.value:.5f} ± {self.se:.5f}"

    @property
    def loss(self) -> float:
        """The value as something of which less is better: itself, or what it lacks of 1."""
        return 1 - self.value if higher_is_better(self.name) else self.value

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Make the value from `to_json`'s dictionary.

        Raises:
            FormError: It is none.
        """
        return cls(
            name=fields.text("name"),
            value=fields.number("value"),
            se=fields.number("se", 0.0),
            rows=fields.whole("rows", 0),
        )


def higher_is_better(name: str | None) -> bool:
    """Say whether more of a metric is better; None is the usual one, accuracy."""
    return name != "log-loss"


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
