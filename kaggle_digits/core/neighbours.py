"""How far images are from the nearest image of a class, when parts of them may move a little.

Candidates are found by pixels, then ranked again by image distortion matching: each 3 by 3 patch of
the gradient is compared with the patches around its place in the other image, and the best one
counts (Keysers, Deselaers, Gollan, Ney 2007, "Deformation Models for Image Recognition", section
3.3, with the Sobel gradient and displacements of up to two pixels).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from kaggle_digits.core.arrays import luminance
from kaggle_digits.core.hardware import available_threads
from kaggle_digits.core.normalisation import normalise
from kaggle_digits.ground.progress import Task

_CANDIDATES = 30
_AT_A_TIME = 64
"""Images that are compared with all references of a class at once."""
_MOVES = 2
_SMALLEST = 1e-3
"""Least distance, so that the same image twice does not decide alone."""


class References:
    """Images whose classes are known, in grey and deslanted.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3].
        labels: int64 [n], class indices.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._upright = normalise(luminance(images), "deslant")
        self._flat = _blurred(self._upright)
        self._squares = (self._flat**2).sum(axis=1)
        self._labels = labels

    def distances(
        self, images: np.ndarray, asked: np.ndarray, allowed: np.ndarray, task: Task
    ) -> np.ndarray:
        """Return each image's distance to the nearest reference of each class it is asked for.

        A class without a reference is as far as the farthest that was found.

        Args:
            images: uint8 [n, height, width] or [n, height, width, 3].
            asked: int64 [n, k], classes.
            allowed: int64, the references that may be looked at.
            task: Told of every image and class.

        Returns:
            float64 [n, k], 0.001 or more.
        """
        upright = normalise(luminance(images), "deslant")
        # Below 0 where nothing was found.
        flat, made = _blurred(upright), np.full(asked.shape, -1.0)

        def look(rows: np.ndarray, known: np.ndarray, which: np.ndarray) -> int:
            places = np.nonzero(asked[which] == self._labels[rows[0]])[1]
            # Without the image's own square, which is the same for all.
            apart = self._squares[rows] - 2 * (flat[which] @ known.T)
            near = rows[np.argsort(apart, axis=1, kind="stable")[:, :_CANDIDATES]]
            for image, place, others in zip(which, places, near, strict=True):
                both = _gradients(np.concatenate([upright[[image]], self._upright[others]]))
                made[image, place] = distortions(both[0], both[1:]).min()
            return len(which)

        with ThreadPoolExecutor(available_threads()) as threads:
            for label in np.unique(asked):
                rows = allowed[self._labels[allowed] == label]
                known, who = self._flat[rows], np.flatnonzero((asked == label).any(axis=1))
                if not len(rows):
                    task.advance(len(who))
                    continue
                parts = np.array_split(who, -(-len(who) // _AT_A_TIME))
                for done in threads.map(partial(look, rows, known), parts):
                    task.advance(done)
        return np.maximum(np.where(made < 0, made.max(axis=1, keepdims=True), made), _SMALLEST)


def distortions(image: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how far an image is from others when each of its patches may move.

    Args:
        image: Gradients, float32 [2, height, width].
        others: Gradients, float32 [n, 2, height, width].

    Returns:
        float32 [n]: the sum over all pixels of the squared difference of the best patch.
    """
    import cv2

    height, width = image.shape[1:]
    around = ((0, 0), (_MOVES, _MOVES), (_MOVES, _MOVES), (0, 0))
    # The others side by side at each pixel, so that OpenCV sums the patches of all at once.
    room, own = np.pad(others.transpose(1, 2, 3, 0), around), image[..., np.newaxis]
    best = np.full((height, width, len(others)), np.inf, np.float32)
    for down in range(2 * _MOVES + 1):
        for along in range(2 * _MOVES + 1):
            apart = room[:, down : down + height, along : along + width] - own
            np.multiply(apart, apart, out=apart)
            patches = cv2.boxFilter(
                apart[0] + apart[1], -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT
            )
            np.minimum(best, patches.reshape(best.shape), out=best)
    found: np.ndarray = best.sum(axis=(0, 1))
    return found


def _gradients(images: np.ndarray) -> np.ndarray:
    import cv2

    scaled = images.astype(np.float32) / 255
    found: list[list[Any]] = [
        [cv2.Sobel(one, cv2.CV_32F, *along) for along in ((1, 0), (0, 1))] for one in scaled
    ]
    return np.asarray(found, dtype=np.float32)


def _blurred(images: np.ndarray) -> np.ndarray:
    """Return images blurred a little and flat, float32 [n, pixels], from 0 to 1."""
    import cv2

    flat = np.empty((len(images), images[0].size if len(images) else 0), np.float32)
    for row, image in enumerate(images):
        flat[row] = cv2.GaussianBlur(image, (3, 3), 0).ravel()
    return flat / np.float32(255)
