"""Predictions judged by what the competition is scored by, and how two of them differ by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaggle_digits.core.metrics import honest_answers, on_samples
from kaggle_digits.ground.figures import Figure
from kaggle_digits.ground.names import RANKING


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """How two predictions of the same rows differ by a metric, first minus second.

    Args:
        value: The difference.
        low: The lower end of its 95 % interval over bootstrap samples, the same for both.
        high: Its upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as a person reads it: `+0.01234 [+0.00210, +0.02258]`."""
        return f"{self.value:+.5f} [{self.low:+.5f}, {self.high:+.5f}]"


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Predictions, judged by a metric.

    Args:
        figure: The metric's honest value, with its standard error.
        sampled: Its values on bootstrap samples of the rows, float64 [samples].
    """

    figure: Figure
    sampled: np.ndarray

    def against(self, other: Scored) -> MetricDifference:
        """Return how it differs from other predictions of the same rows."""
        low, high = np.percentile(self.sampled - other.sampled, [2.5, 97.5]).tolist()
        return MetricDifference(self.figure.value - other.figure.value, low, high)

    def is_as_good_as(self, best: Scored) -> bool:
        """Say whether it does not lose to the best in 97.5 % of the samples."""
        return self.against(best).high >= 0


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A metric, and the rows that predictions are judged on by it.

    Args:
        metric: One of `names.RANKING`; the higher the better.
        labels: int64 [rows], class indices.
        folds: int64 [rows], as of `metrics.honest_answers`.
        groups: int64 [rows], what rows have in common that err together; None for nothing.
    """

    metric: str
    labels: np.ndarray
    folds: np.ndarray
    groups: np.ndarray | None = None

    def __call__(self, oof: np.ndarray) -> Scored:
        """Judge probabilities, float [rows, classes], each row's by what never saw it."""
        answers = honest_answers(self.metric, oof, self.labels, self.folds)
        return Scored(*on_samples(self.metric, oof, self.labels, answers, self.groups))


def judge_of(
    metric: str | None, labels: np.ndarray, folds: np.ndarray, groups: np.ndarray | None = None
) -> Judge | None:
    """Return what judges by a metric; None where accuracy and log-loss say it already.

    Args:
        metric: One of `names.METRICS`; None where nobody said.
        labels: As `Judge`'s.
        folds: As `Judge`'s.
        groups: As `Judge`'s.
    """
    return Judge(metric, labels, folds, groups) if metric in RANKING else None
