"""What to look at in the data: labels that look wrong, test images in doubt.

Labels are judged by out-of-fold predictions and ranked by the normalised margin, p(label) less the
highest other probability, as in confident learning (Northcutt, Jiang, Chuang: Confident Learning,
2021, sections 3.1 and 4.3). Its criterion marks those that are most probably wrong: the prediction
for another class is at least what rows of that class get on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Suspects:
    """Rows whose label is not what the predictions name, the most suspicious first.

    Args:
        rows: int64 [n], places in the predictions.
        suggested: int64 [n], the class that the predictions name.
        margins: float64 [n], p(label) less the highest other probability, -1 to 0.
        confident: bool [n], whether confident learning takes the label for wrong.
    """

    rows: np.ndarray
    suggested: np.ndarray
    margins: np.ndarray
    confident: np.ndarray


def suspects(probabilities: np.ndarray, labels: np.ndarray) -> Suspects:
    """Find labels that look wrong.

    Args:
        probabilities: Out-of-fold softmax, float [rows, classes].
        labels: int64 [rows].
    """
    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    own = probabilities[rows, labels].astype(np.float64)
    count = np.bincount(labels, minlength=classes)
    usual = np.bincount(labels, own, minlength=classes) / np.maximum(count, 1)
    others = probabilities.astype(np.float64)
    others[rows, labels] = -1.0
    suggested, margins = others.argmax(axis=1), own - others.max(axis=1)
    found = np.flatnonzero(margins < 0)
    found = found[np.argsort(margins[found], kind="stable")]
    # A class without rows is no class that a row could be of.
    is_confident = np.any((others[found] >= usual) & (count > 0), axis=1)
    return Suspects(found, suggested[found], margins[found], np.asarray(is_confident))


def hesitations(probabilities: np.ndarray, most: int) -> np.ndarray:
    """Return the rows whose two highest probabilities are nearest, the nearest first, int64.

    Args:
        probabilities: float [rows, classes].
        most: How many at most.
    """
    highest = np.partition(probabilities, -2, axis=1)
    return np.argsort(highest[:, -1] - highest[:, -2], kind="stable")[:most]
