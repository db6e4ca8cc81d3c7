"""Softmax outputs and how they are judged: accuracy and log-loss with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaggle_digits.ground.errors import ArtefactError

_ROW_SUM_TOLERANCE = 1e-3
_OF_MEMBER = "If it is a member's, delete its folder and call `kaggle-digits cv-train` again."
SMALLEST = 1e-15
"""Least probability of a label that log-loss counts, so that it stays finite."""
FLOOR = 1e-7
"""Least probability whose logarithm is taken: what float32 resolves near 1. Below it a softmax
output says no more than "not this class", and one member could veto a class for all others."""


@dataclass(frozen=True, slots=True)
class Score:
    """How good a set of predictions is on rows whose labels are known.

    Args:
        accuracy: Share of rows whose most probable class is the label.
        accuracy_se: Its binomial standard error, sqrt(p (1 - p) / n).
        log_loss: Mean of -ln p(label), natural logarithm, as `sklearn.metrics.log_loss`.
        log_loss_se: Its standard error, the rows' standard deviation over sqrt(n).
        rows: n.
    """

    accuracy: float
    accuracy_se: float
    log_loss: float
    log_loss_se: float
    rows: int


def score(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Score:
    """Judge predictions.

    Args:
        probabilities: float [n, classes], rows that sum to 1.
        labels: int [n], class indices.
        groups: int [n], rows with equal numbers are of one writer, patient or site, so that they
            are right and wrong together: standard errors are then those of groups. None for rows
            on their own.
    """
    rows = len(labels)
    right = probabilities.argmax(axis=1) == labels
    accuracy = float(np.mean(right))
    losses = row_losses(probabilities, labels)
    if groups is None:
        accuracy_se = float(np.sqrt(accuracy * (1 - accuracy) / rows))
    else:
        accuracy_se = error_of_mean(right.astype(np.float64), groups)
    return Score(
        accuracy=accuracy,
        accuracy_se=accuracy_se,
        log_loss=float(losses.mean()),
        log_loss_se=error_of_mean(losses, groups),
        rows=rows,
    )


def error_of_mean(values: np.ndarray, groups: np.ndarray | None) -> float:
    """Return the standard error of a mean, 0 where there is nothing to tell it by.

    Of rows on their own sd / sqrt(n). Where they come in groups, with r_g the sum of a group's
    differences from the mean, sqrt(G / (G - 1) · sum of r_g²) / n (Liang and Zeger 1986,
    "Longitudinal data analysis using generalized linear models").

    Args:
        values: float [n].
        groups: int [n]; None for rows on their own.
    """
    if groups is None:
        return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, values - values.mean())
    count = len(sums)
    if count < 2:
        return 0.0
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values))


def row_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return -ln p(label) of each row, float64 [n], in nats.

    Args:
        probabilities: float [n, classes].
        labels: int [n], class indices.
    """
    of_label = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses: np.ndarray = -np.log(np.clip(of_label, SMALLEST, 1.0))
    return losses


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return exp(x) / sum(exp(x)) along the last axis, float32, computed in float64."""
    result: np.ndarray = softmax64(logits).astype(np.float32)
    return result


def softmax64(logits: np.ndarray) -> np.ndarray:
    """Return exp(x) / sum(exp(x)) along the last axis, float64."""
    logits = logits.astype(np.float64, copy=False)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return normalised(shifted)


def logarithm(probabilities: np.ndarray) -> np.ndarray:
    """Return ln(max(p, `FLOOR`)) in the array's own precision."""
    result: np.ndarray = np.log(np.maximum(probabilities, FLOOR))
    return result


def normalised(values: np.ndarray) -> np.ndarray:
    """Return values over their sum along the last axis."""
    result: np.ndarray = values / values.sum(axis=-1, keepdims=True)
    return result


def require_softmax(
    probabilities: np.ndarray, shape: tuple[int, int], name: str, mend: str = _OF_MEMBER
) -> None:
    """Refuse an array that is not softmax output of the expected shape.

    Args:
        probabilities: The array.
        shape: Rows and classes expected.
        name: How the message names it.
        mend: What the message says can be done.

    Raises:
        ArtefactError: Wrong shape, no numbers, not finite, negative, or rows that do not sum to 1.
    """
    if probabilities.shape != shape:
        raise ArtefactError(
            f"{name} has shape {probabilities.shape}; expected {shape} (rows, classes).", mend=mend
        )
    if probabilities.dtype.kind not in "fiu":
        raise ArtefactError(f"{name} holds {probabilities.dtype}; expected numbers.", mend=mend)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    # Written so that NaN fails too.
    bad = ~(np.abs(sums - 1) <= _ROW_SUM_TOLERANCE)
    is_negative = probabilities < 0
    if is_negative.any():
        bad |= is_negative.any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise ArtefactError(
            f"{name} row {row} is no probability distribution (it sums to {sums[row]:.6f}).",
            mend=mend,
        )
