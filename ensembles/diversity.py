"""Diversity: what each of a blend's predictions adds to the plain mean, and what errors they share.

Predictions count here as a blend sees them: one per whole fold set or extra, [rows, classes].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ensembles.evaluation import PairedDifference, RowResults, compare
from ensembles.fitting import member_temperatures
from kaggle_digits.core.predictions import SMALLEST, Score, logarithm, score


@dataclass(frozen=True, slots=True)
class Contribution:
    """One prediction among the others.

    Args:
        name: Whose.
        score: Its own.
        effect: The plain mean of all less the plain mean without it, each with the temperature
            that suits it best; None where it is the only one.
    """

    name: str
    score: Score
    effect: PairedDifference | None

    @property
    def verdict(self) -> str:
        """Whether it earns its place, as far as the 95 % intervals of `effect` tell."""
        if self.effect is None:
            return "the only one"
        gains = self.effect.log_loss_high < 0 or self.effect.images_low > 0
        costs = self.effect.log_loss_low > 0 or self.effect.images_high < 0
        if gains and costs:
            return "mixed"
        return "helps" if gains else "harms" if costs else "no difference shown"


@dataclass(frozen=True, slots=True, eq=False)
class Diversity:
    """All predictions side by side.

    Args:
        contributions: One each, in order.
        agreement: Share of rows on which two name the same class, float64 [members, members].
        overlap: Rows that both get wrong over rows that one or both get wrong (Jaccard index);
            0 where neither errs. float64 [members, members].
        missed_by_all: Rows that none gets right, ascending, int64.
    """

    contributions: tuple[Contribution, ...]
    agreement: np.ndarray
    overlap: np.ndarray
    missed_by_all: np.ndarray


def diversity(
    names: Sequence[str],
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
) -> Diversity:
    """Compare predictions with one another and each with the plain mean.

    Args:
        names: Of the predictions.
        probabilities: Out-of-fold softmax, float [members, rows, classes].
        labels: int64 [rows].
        groups: int64 [rows], what rows have in common that err together; None for nothing.
    """
    # As small as can be: each is compared with each.
    choices = probabilities.argmax(axis=2).astype(np.min_scalar_type(probabilities.shape[2]))
    wrong = choices != labels
    agreement = np.stack([(choices == one).mean(axis=1) for one in choices])
    both = np.stack([(wrong & one).sum(axis=1) for one in wrong])
    errors = wrong.sum(axis=1)
    either = errors + errors[:, None] - both
    return Diversity(
        contributions=tuple(
            Contribution(name, score(one, labels, groups), effect)
            for name, one, effect in zip(
                names, probabilities, _effects(probabilities, labels, groups), strict=True
            )
        ),
        agreement=agreement,
        overlap=both / np.maximum(either, 1),
        missed_by_all=np.flatnonzero(wrong.all(axis=0)),
    )


def to_others(matrix: np.ndarray) -> np.ndarray | None:
    """Return each member's mean over the others, float64 [members]; None where there is one only.

    Args:
        matrix: float64 [members, members].
    """
    members = len(matrix)
    if members == 1:
        return None
    means: np.ndarray = (matrix.sum(axis=1) - matrix.diagonal()) / (members - 1)
    return means


def _effects(
    probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
) -> list[PairedDifference | None]:
    if len(probabilities) == 1:
        return [None]
    # Classes first: sums over the rows' few classes then go along whole rows of memory.
    total = np.ascontiguousarray(probabilities.sum(axis=0, dtype=np.float64).T)
    everyone = _calibrated(total, labels)
    return [compare(everyone, _calibrated(total - one.T, labels), groups) for one in probabilities]


def _calibrated(total: np.ndarray, labels: np.ndarray) -> RowResults:
    """Judge the mean that a sum stands for, float64 [classes, rows], at its best temperature."""
    joined = total / total.sum(axis=0)
    # Else a member without label smoothing seems to bring what a temperature alone would bring.
    (temperature,) = member_temperatures(joined.T[None], labels)
    logs = logarithm(joined)
    logs /= temperature
    own = logs[labels, np.arange(len(labels))]
    np.exp(logs, out=logs)  # the highest is 1/classes at least, so that no sum is 0
    losses = np.minimum(np.log(logs.sum(axis=0)) - own, -np.log(SMALLEST))
    return RowResults(joined.argmax(axis=0) == labels, losses)
