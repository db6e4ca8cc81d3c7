"""What to look at in the data: labels that look wrong, test images in doubt, images twice there.

Labels are judged by out-of-fold predictions and ranked by the normalised margin, p(label) less the
highest other probability, as in confident learning (Northcutt, Jiang, Chuang: Confident Learning,
2021, sections 3.1 and 4.3). Its criterion marks those that are most probably wrong: the prediction
for another class is at least what rows of that class get on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaggle_digits.ground import seeds

_DIRECTIONS = 16
_SAMPLE = 4000
_NEAREST = 4
_STEPS = 4
NEAR = 5.0
"""Root mean square of the pixels' differences (of 255) up to which two images count as the same.
Different handwritten digits are some 40 apart, the thinnest ones that look alike 7 or more."""


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


@dataclass(frozen=True, slots=True)
class Pair:
    """A training and a test image that are nearly the same.

    Args:
        train: The row in train.csv, from 0.
        test: The row in test.csv, from 0.
        distance: Root mean square of their pixels' differences, of 255.
    """

    train: int
    test: int
    distance: float


def near_duplicates(train: np.ndarray, test: np.ndarray) -> list[Pair]:
    """Find test images that are nearly a training image, the nearest first.

    Images are looked up by their places along a few orthogonal directions, along which no two are
    further apart than they are; the four nearest there are compared whole. The directions are near
    those of the largest variance, which leave the fewest candidates.

    Args:
        train: uint8 [rows, height, width] or [rows, height, width, 3].
        test: uint8 [test rows, …], of the same shape.
    """
    from scipy.spatial import cKDTree

    known, new = (images.reshape(len(images), -1) for images in (train, test))
    sample = known[:: -(-len(known) // _SAMPLE)].astype(np.float32)
    directions = _directions(sample - sample.mean(axis=0))
    bound = NEAR * known.shape[1] ** 0.5
    tree = cKDTree(_projected(known, directions), balanced_tree=False)
    nearest = min(_NEAREST, len(known))
    distances, found = tree.query(
        _projected(new, directions), nearest, distance_upper_bound=bound * (1 + 1e-4), workers=-1
    )
    distances, found = distances.reshape(len(new), -1), found.reshape(len(new), -1)
    pairs = []
    for row in np.flatnonzero(np.isfinite(distances[:, 0])):
        rows = found[row][np.isfinite(distances[row])]
        apart = known[rows].astype(np.float32) - new[row]
        whole = np.sqrt((apart**2).mean(axis=1))
        best = int(whole.argmin())
        if whole[best] <= NEAR:
            pairs.append(Pair(int(rows[best]), int(row), float(whole[best])))
    return sorted(pairs, key=lambda pair: (pair.distance, pair.test))


def _directions(centred: np.ndarray) -> np.ndarray:
    """Return orthonormal directions of large variance, float32 [pixels, directions].

    By a few steps of orthogonal iteration (Golub, Van Loan: Matrix Computations, section 8.2.4);
    any orthonormal directions find the same pairs, so that these need not be exact.
    """
    count = min(_DIRECTIONS, centred.shape[1])
    found = np.random.default_rng(seeds.FIXED).normal(size=(centred.shape[1], count))
    for _ in range(_STEPS):
        found, _ = np.linalg.qr(centred.T @ (centred @ found.astype(np.float32)))
    return found.astype(np.float32)


def _projected(images: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return places along directions, float32 [rows, directions]; a part of the rows at a time."""
    parts = [
        images[start : start + _SAMPLE].astype(np.float32) @ directions
        for start in range(0, len(images), _SAMPLE)
    ]
    return np.concatenate(parts)
