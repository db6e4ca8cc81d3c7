"""Images that are there twice, or nearly: in train.csv and test.csv, or in different folds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kaggle_digits.ground import seeds

_DIRECTIONS = 16
_SAMPLE = 4000
_NEAREST = 4
_STEPS = 4
_ASKED = 3000
_FEW = 0.005
"""Share of rows below which images that are nearly the same in another fold are not told of."""

_SIDE = 32
"""Pixels: sides of images that are looked up; larger ones are shrunk."""
NEAR = 5.0
"""Root mean square of the pixels' differences (of 255) up to which two images count as the same.
Different handwritten digits are some 40 apart, the thinnest ones that look alike 7 or more."""


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


@dataclass(frozen=True, slots=True)
class Across:
    """Images that stand in different folds though they are nearly the same.

    Args:
        rows: Rows that are judged.
        same: How many of them have the very same image in another fold, or in no fold.
        asked: How many of them were looked up.
        near: How many of these have one that is nearly the same there.
    """

    rows: int
    same: int
    asked: int
    near: int

    @property
    def share(self) -> float:
        """The share of rows that have an image nearly the same in another fold, 0 to 1."""
        return max(self.near / self.asked, self.same / self.rows) if self.rows else 0.0

    def doubt(self, *, grouped: bool) -> str:
        """Return what is to be said of them; empty where they are too few to matter.

        Args:
            grouped: Whether rows that belong together are told by a column already.
        """
        if not self.same and self.share < _FEW:
            return ""
        there = []
        if self.same:
            there.append(f"the very same image for {self.same:,} of {self.rows:,} rows")
        if self.near and self.share >= _FEW:
            every = "rows" if self.asked == self.rows else "rows looked at"
            there.append(f"nearly the same for {self.near:,} of {self.asked:,} {every}")
        words = f"other folds hold {' and '.join(there)}, so that figures may flatter"
        if grouped:
            return words
        return (
            f"{words}; rows that belong together (of one writer, one patient) want --groups COLUMN"
        )


def near_duplicates(train: np.ndarray, test: np.ndarray) -> list[Pair]:
    """Find test images that are nearly a training image, the nearest first.

    Images are looked up by their places along a few orthogonal directions, along which no two are
    further apart than they are; the four nearest there are compared whole. The directions are near
    those of the largest variance, which leave the fewest candidates.

    Args:
        train: uint8 [rows, height, width] or [rows, height, width, 3].
        test: uint8 [test rows, …], of the same shape.
    """
    pairs = []
    for row, rows, apart in _near(train, test, _NEAREST):
        best = int(apart.argmin())
        pairs.append(Pair(int(rows[best]), row, float(apart[best])))
    return sorted(pairs, key=lambda pair: (pair.distance, pair.test))


def across_folds(images: np.ndarray, of_row: np.ndarray) -> Across:
    """Find images that are nearly the same and stand in different folds.

    A network is then judged on what it has seen. The very same images are told by a digest of all
    rows, those that are nearly the same by looking up some rows, evenly spread.

    Args:
        images: uint8 [rows, height, width] or [rows, height, width, 3].
        of_row: int64 [rows], each row's fold; -1 for rows that all folds train on, below for rows
            that none does.
    """
    known = np.flatnonzero(of_row >= -1)
    groups: dict[bytes, list[int]] = {}
    for row in known.tolist():
        digest = hashlib.blake2b(images[row].tobytes(), digest_size=16).digest()
        groups.setdefault(digest, []).append(row)
    same = 0
    for rows in groups.values():
        folds = of_row[rows]
        if len(rows) > 1 and folds.min() != folds.max():
            same += int((folds >= 0).sum())
    judged = np.flatnonzero(of_row >= 0)
    asked = judged[:: -(-len(judged) // _ASKED)]
    near = 0
    every = images if len(known) == len(images) else images[known]
    # The first that is found is the image itself.
    for place, places, _ in _near(every, images[asked], _NEAREST + 1):
        near += bool((of_row[known[places]] != of_row[asked[place]]).any())
    return Across(rows=len(judged), same=same, asked=len(asked), near=near)


def _near(
    known: np.ndarray, new: np.ndarray, nearest: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield each new image that has known ones nearly like it, their places, and the distances."""
    from scipy.spatial import cKDTree

    by = -(-max(known.shape[1:3]) // _SIDE)
    few, some = _shrunk(known, by), _shrunk(new, by)
    sample = few[:: -(-len(few) // _SAMPLE)].astype(np.float32)
    directions = _directions(sample - sample.mean(axis=0))
    bound = NEAR * known[0].size ** 0.5 / by
    if by > 1:
        bound += few.shape[1] ** 0.5  # each mean is rounded
    tree = cKDTree(_projected(few, directions), balanced_tree=False)
    distances, found = tree.query(
        _projected(some, directions),
        min(nearest, len(known)),
        distance_upper_bound=bound * (1 + 1e-4),
        workers=-1,
    )
    distances, found = distances.reshape(len(new), -1), found.reshape(len(new), -1)
    for row in np.flatnonzero(np.isfinite(distances[:, 0])):
        rows = found[row][np.isfinite(distances[row])]
        apart = known[rows].astype(np.float32) - new[row]
        whole = np.sqrt((apart**2).reshape(len(rows), -1).mean(axis=1))
        is_near = whole <= NEAR
        if is_near.any():
            yield int(row), rows[is_near], whole[is_near]


def _shrunk(images: np.ndarray, by: int) -> np.ndarray:
    """Return images flat, as the means of blocks of so many pixels a side, uint8 [rows, values].

    The distance of two is at most that of the images, by the side, but for the rounding.
    """
    if by == 1:
        return images.reshape(len(images), -1)
    import cv2

    height, width = (side // by for side in images.shape[1:3])
    size = height * width * (images.shape[3] if images.ndim == 4 else 1)
    found = np.empty((len(images), size), np.uint8)
    for row, image in enumerate(images):
        whole = image[: height * by, : width * by]
        found[row] = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).ravel()
    return found


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
