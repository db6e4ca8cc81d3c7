"""How far images are from the nearest image of a class, when parts of them may move a little.

Candidates are found by pixels, then ranked again by image distortion matching: each 3 by 3 patch of
the gradient is compared with the patches around its place in the other image, and the best one
counts (Keysers, Deselaers, Gollan, Ney 2007, "Deformation Models for Image Recognition", section
3.3, with the Sobel gradient and displacements of up to two pixels; a first pass of one pixel leaves
most candidates out). Images are looked at as they are and normalised, since the two are wrong about
different ones.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from kaggle_digits.core.arrays import luminance
from kaggle_digits.core.hardware import available_threads
from kaggle_digits.core.normalisation import normalise
from kaggle_digits.ground.names import DISTANCES
from kaggle_digits.ground.progress import Task

_CANDIDATES = 60
_CLOSEST = 10
"""Of the candidates, those that the whole displacement is tried for."""
_AT_A_TIME = 128
"""Images that are compared with all references of a class at once."""
_MOVES = 2
_SMALLEST = 1e-3
"""Least distance, so that the same image twice does not decide alone."""


@dataclass(frozen=True, slots=True, eq=False)
class _Grey:
    """Images in one normalisation, uint8 [n, height, width], and blurred a little, [n, pixels]."""

    images: np.ndarray
    blurred: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, normalisation: str) -> Self:
        """Return images, in grey as they came, in a normalisation."""
        import cv2

        made = normalise(images, normalisation)
        blurred = np.empty((len(made), made[0].size if len(made) else 0), np.uint8)
        for row, image in enumerate(made):
            blurred[row] = cv2.GaussianBlur(image, (3, 3), 0).ravel()
        return cls(made, blurred)

    def flat(self, rows: np.ndarray) -> np.ndarray:
        """Return some of the blurred images, float32 [n, pixels]."""
        found: np.ndarray = self.blurred[rows].astype(np.float32)
        return found


class References:
    """Images whose classes are known, in grey and in all normalisations of `DISTANCES`.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3].
        labels: int64 [n], class indices.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        grey = luminance(images)
        self._known = [_Grey.of(grey, name) for name in DISTANCES]
        self._labels = labels

    def distances(
        self, images: np.ndarray, asked: np.ndarray, allowed: np.ndarray, task: Task
    ) -> np.ndarray:
        """Return each image's distances to the nearest reference of each class it is asked for.

        A class without a reference is as far as the farthest that was found.

        Args:
            images: uint8 [n, height, width] or [n, height, width, 3].
            asked: int64 [n, k], classes.
            allowed: int64, the references that may be looked at.
            task: Told of every image, class and normalisation.

        Returns:
            float64 [n, k, normalisations], 0.001 or more.
        """
        grey = luminance(images)
        with ThreadPoolExecutor(available_threads()) as threads:
            found = [
                self._nearest(known, _Grey.of(grey, name), asked, allowed, threads, task)
                for known, name in zip(self._known, DISTANCES, strict=True)
            ]
        return np.stack(found, axis=2)

    def _nearest(
        self,
        known: _Grey,
        images: _Grey,
        asked: np.ndarray,
        allowed: np.ndarray,
        threads: Executor,
        task: Task,
    ) -> np.ndarray:
        """Return the distances in one normalisation, float64 [n, k]."""
        made = np.full(asked.shape, -1.0)  # below 0 where nothing was found

        def look(rows: np.ndarray, which: np.ndarray) -> int:
            places = np.nonzero(asked[which] == self._labels[rows[0]])[1]
            near = _candidates(images.flat(which), known.flat(rows))
            kept, turned = np.unique(near, return_inverse=True)
            others, own = _gradients(known.images[rows[kept]]), _gradients(images.images[which])
            made[which, places] = [
                _smallest_distortion(image, others[candidates])
                for image, candidates in zip(own, turned.reshape(near.shape), strict=True)
            ]
            return len(which)

        of_class: list[np.ndarray] = []
        parts: list[np.ndarray] = []
        for label in np.unique(asked):
            rows = allowed[self._labels[allowed] == label]
            who = np.flatnonzero((asked == label).any(axis=1))
            if len(rows):
                parts += np.array_split(who, -(-len(who) // _AT_A_TIME))
                of_class += [rows] * (len(parts) - len(of_class))
            else:
                task.advance(len(who))
        for done in threads.map(look, of_class, parts):
            task.advance(done)
        return np.maximum(np.where(made < 0, made.max(axis=1, keepdims=True), made), _SMALLEST)


def _candidates(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the places of the others that are nearest to each image by pixels, [n, candidates]."""
    # Without the image's own square, which is the same for all.
    apart = np.einsum("np,np->n", others, others) - 2 * (images @ others.T)
    nearest = min(_CANDIDATES, len(others))
    found: np.ndarray = np.argpartition(apart, nearest - 1, axis=1)[:, :nearest]
    return found


def _smallest_distortion(image: np.ndarray, others: np.ndarray) -> float:
    """Return how far the nearest of others is, of those that are near by small displacements."""
    near = np.argsort(distortions(image, others, 1), kind="stable")[:_CLOSEST]
    # OpenCV's running sums may end a little below 0 where two images are the same.
    return max(0.0, float(distortions(image, others[near], _MOVES).min()))


def distortions(image: np.ndarray, others: np.ndarray, moves: int) -> np.ndarray:
    """Return how far an image is from others when each of its patches may move.

    Args:
        image: Gradients, float32 [2, height, width].
        others: Gradients, float32 [n, 2, height, width].
        moves: By how many pixels at most, in each direction.

    Returns:
        float32 [n]: the sum over all pixels of the squared difference of the best patch.
    """
    import cv2

    count, (height, width) = len(others), image.shape[1:]
    around = ((0, 0), (moves, moves), (moves, moves), (0, 0))
    # The others side by side at each pixel: OpenCV sums the patches of all at once, and a row of
    # pixels is one stretch of memory, wherever it begins.
    room = np.pad(others.transpose(1, 2, 3, 0), around).reshape(2, height + 2 * moves, -1)
    own = np.repeat(image, count, axis=2)
    best = np.full((height, width, count), np.inf, np.float32)
    apart, patches = np.empty_like(own), np.empty_like(best)
    for down in range(2 * moves + 1):
        for along in range(2 * moves + 1):
            there = room[:, down : down + height, along * count : (along + width) * count]
            np.subtract(there, own, out=apart)
            np.multiply(apart, apart, out=apart)
            np.add(apart[0], apart[1], out=apart[0])
            cv2.boxFilter(
                apart[0].reshape(best.shape), -1, (3, 3), patches,
                normalize=False, borderType=cv2.BORDER_CONSTANT,
            )  # fmt: skip
            np.minimum(best, patches, out=best)
    found: np.ndarray = best.sum(axis=(0, 1))
    return found


def _gradients(images: np.ndarray) -> np.ndarray:
    import cv2

    scaled = images.astype(np.float32) / 255
    found: list[list[Any]] = [
        [cv2.Sobel(one, cv2.CV_32F, *along) for along in ((1, 0), (0, 1))] for one in scaled
    ]
    return np.asarray(found, dtype=np.float32)
