"""Do nearest neighbours help where a mean of networks is unsure?

    python benchmarks/neighbours.py --data digit-recognizer.zip --workspace sets --sets plain
        [--seeds 1] [--folds 3] [--epochs 12] [--below 0.98]

Judges sets that `normalised.py` has trained in the workspace. A row is unsure where the largest
calibrated probability of the mean is below a limit. Its neighbours come from other folds only: of
each class the 30 nearest deslanted images, ranked again by image distortion matching (Keysers,
Deselaers, Gollan, Ney 2007, "Deformation Models for Image Recognition", section 3.3: 3 by 3 patches
of the gradient, each of which may move by up to two pixels).

An unsure row's probabilities become p^a / d^b, normalised, with d the distance to a class' nearest
images. Both exponents are fitted on the unsure rows of the other folds; the control has b = 0, so
that what the neighbours bring is not what a second temperature brings. Distances are kept in the
workspace: called again, the script goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from normalised import Sets, interval
from scipy.optimize import minimize

from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.normalisation import normalise
from kaggle_digits.core.predictions import logarithm, row_losses, softmax64

CANDIDATES = 30
WARP = 2
NEAREST = (1, 3)


def gradients(images: np.ndarray) -> np.ndarray:
    """Return horizontal and vertical Sobel gradients, float32 [n, 2, height, width]."""
    scaled = images.astype(np.float32) / 255
    return np.stack(
        [[cv2.Sobel(one, cv2.CV_32F, *along) for along in ((1, 0), (0, 1))] for one in scaled]
    )


def distortion(image: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how far an image is from others when each of its patches may move.

    Args:
        image: Gradients [2, height, width].
        others: Gradients [n, 2, height, width].
    """
    height, width = image.shape[1:]
    room = np.pad(others, ((0, 0), (0, 0), (WARP, WARP), (WARP, WARP)))
    best = np.full((len(others), height, width), np.inf, np.float32)
    for down in range(2 * WARP + 1):
        for along in range(2 * WARP + 1):
            moved = room[:, :, down : down + height, along : along + width]
            apart = np.pad(((moved - image) ** 2).sum(axis=1), ((0, 0), (1, 1), (1, 1)))
            apart = apart[:, :-2] + apart[:, 1:-1] + apart[:, 2:]
            apart = apart[:, :, :-2] + apart[:, :, 1:-1] + apart[:, :, 2:]
            best = np.minimum(best, apart)
    return best.sum(axis=(1, 2))


class Neighbours:
    """Each row's distances to the classes of the other folds, kept on disk."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, folds: Folds, path: Path) -> None:
        self._labels, self._folds, self._path = labels, folds, path
        self._upright = normalise(images, "deslant")
        blurred = np.stack([cv2.GaussianBlur(one, (3, 3), 0) for one in self._upright])
        self._flat = blurred.reshape(len(images), -1).astype(np.float32) / 255
        self._squares = (self._flat**2).sum(axis=1)
        self._known: dict[int, np.ndarray] = {}
        if path.exists():
            with np.load(path) as stored:
                self._known = dict(zip(stored["rows"].tolist(), stored["found"], strict=True))

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return distances, [rows, kinds, classes]: plain and distorted, of 1 and of 3 nearest."""
        for count, row in enumerate(rows.tolist()):
            if row not in self._known:
                self._known[row] = self._measured(row)
            if count % 50 == 49 or count + 1 == len(rows):
                self._save()
        return np.stack([self._known[row] for row in rows.tolist()])

    def _measured(self, row: int) -> np.ndarray:
        others = self._folds.training_rows(int(self._folds.of_row[row]))
        plain = self._squares[others] + self._squares[row]
        plain -= 2 * self._flat[others] @ self._flat[row]
        found = []
        for label in range(int(self._labels.max()) + 1):
            of_class = np.flatnonzero(self._labels[others] == label)
            near = of_class[np.argsort(plain[of_class])[:CANDIDATES]]
            chosen = gradients(self._upright[others[near]])
            bent = np.sort(distortion(gradients(self._upright[row : row + 1])[0], chosen))
            straight = np.maximum(plain[near], 0)
            found.append([x[:n].mean() for x in (straight, bent) for n in NEAREST])
        return np.array(found).T

    def _save(self) -> None:
        temporary = self._path.with_suffix(".part.npz")
        rows = np.array(list(self._known), np.int64)
        np.savez(temporary, rows=rows, found=np.array(list(self._known.values())))
        temporary.replace(self._path)


def joined(values: np.ndarray, mean: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return p^a / d^b, normalised."""
    return softmax64(values[0] * logarithm(mean) - values[1] * np.log(np.maximum(near, 1e-3)))


def fitted(
    mean: np.ndarray, near: np.ndarray, labels: np.ndarray, *, with_neighbours: bool
) -> np.ndarray:
    """Return the exponents with the lowest log-loss; the second is 0 without neighbours."""
    free = np.array([1.0, 1.0 if with_neighbours else 0.0])

    def loss(values: np.ndarray) -> float:
        return float(row_losses(joined(values * free, mean, near), labels).mean())

    found = minimize(loss, np.array([1.0, 1.0]), method="Nelder-Mead")
    return np.asarray(found.x * free)


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--sets", required=True, help="names, with commas between them")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--below", type=float, default=0.98)
    given = parser.parse_args()
    sets = Sets(given)
    chosen = [(name, seed) for seed in range(given.seeds) for name in given.sets.split(",")]
    mean = np.mean([sets.whole(*which) for which in chosen], axis=0)
    mean = temper(mean, best_temperature(mean, sets.labels))
    rows = np.flatnonzero(mean.max(axis=1) < given.below)
    store = given.workspace / f"neighbours-{given.folds}.npz"
    near = Neighbours(sets.images, sets.labels, sets.folds, store).of(rows)
    labels, of_row = sets.labels[rows], sets.folds.of_row[rows]
    print(f"{len(rows)} of {len(sets.labels)} rows are unsure, in {len(chosen)} sets")
    print("| neighbours | errors of the unsure rows | log-loss of all rows | difference |")
    print("|---|---|---|---|")
    certain = float(np.delete(row_losses(mean, sets.labels), rows).sum())
    control = np.zeros(len(rows))
    kinds = [f"{what}, {n} nearest" for what in ("pixels", "distortion") for n in NEAREST]
    for kind, name in enumerate(["none", *kinds]):
        losses, wrong = np.zeros(len(rows)), 0
        distances = near[:, max(kind - 1, 0)]
        for fold in range(given.folds):
            out, here = of_row != fold, of_row == fold
            values = fitted(mean[rows][out], distances[out], labels[out], with_neighbours=kind > 0)
            made = joined(values, mean[rows][here], distances[here])
            losses[here] = row_losses(made, labels[here])
            wrong += int((made.argmax(axis=1) != labels[here]).sum())
        if kind == 0:
            control = losses
        total = (certain + losses.sum()) / len(sets.labels)
        everywhere = np.zeros(len(sets.labels))
        everywhere[rows] = losses - control
        low, high = interval(everywhere)
        shown = f"{everywhere.mean():+.5f} [{low:+.5f}, {high:+.5f}]" if kind else ""
        print(f"| {name} | {wrong} | {total:.5f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
