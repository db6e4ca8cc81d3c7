"""Normalised images: slant taken out, ink brought to one size, each by one affine map per image.

Networks that see digits normalised in different ways make fewer errors in common than networks that
see the same images (Ciresan, Meier, Gambardella, Schmidhuber 2011, "Convolutional Neural Network
Committees for Handwritten Character Classification", section 2). A normalisation is a pure function
of one image, so it carries nothing from one row to another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaggle_digits.core.arrays import luminance
from kaggle_digits.ground.names import require_known

_LARGEST_SLANT = 1.2
_BOX_HEIGHT = 20 / 28
_LARGEST_STRETCH = 2.0
_INK = 0.25
"""Least share of the brightest pixel that counts as ink, so that faint noise has no extent."""
_NO_SPREAD = 1e-9
_AT_A_TIME = 1024


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How images are normalised; the shear comes first where both are wanted.

    Args:
        deslant: Whether rows are shifted so that the strokes stand upright.
        width: Width the ink is brought to, relative to the image's; None leaves its size.
    """

    deslant: bool = False
    width: float | None = None


NORMALISATIONS: dict[str, Normalisation | None] = {
    "none": None,
    "deslant": Normalisation(deslant=True),
    "box14": Normalisation(width=14 / 28),
    "box20": Normalisation(width=20 / 28),
    "deslant-box14": Normalisation(deslant=True, width=14 / 28),
    "deslant-box20": Normalisation(deslant=True, width=20 / 28),
}
"""The boxes are named by their width in pixels where images are 28 wide."""


def find_normalisation(name: str) -> Normalisation | None:
    """Return a normalisation by its name.

    Raises:
        ConfigurationError: The name is unknown.
    """
    require_known("normalisation", name, NORMALISATIONS)
    return NORMALISATIONS[name]


def normalise(images: np.ndarray, name: str) -> np.ndarray:
    """Return images normalised, uint8 of the same shape; for `none` the images themselves.

    Slant and size make one map, so that pixels are interpolated once. What comes in from outside is
    black; an image without ink stays as it is.

    Args:
        images: uint8 [n, height, width]; in colour, [n, height, width, 3], the map is that of
            their luminance, and takes all planes along.
        name: One of `NORMALISATIONS`.

    Raises:
        ConfigurationError: The name is unknown.
    """
    wanted = find_normalisation(name)
    if wanted is None:
        return images
    import cv2

    height, width = images.shape[1:3]
    made = images.copy()
    for start in range(0, len(images), _AT_A_TIME):
        ink = luminance(images[start : start + _AT_A_TIME])
        inked = np.flatnonzero(ink.any(axis=(1, 2)))
        for row, back in zip(start + inked, _back(ink[inked], wanted), strict=True):
            # The map says where each pixel comes from; cubic as in augmentation.
            flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            made[row] = cv2.warpAffine(images[row], back, (width, height), flags=flags)
    return made


def _back(images: np.ndarray, wanted: Normalisation) -> np.ndarray:
    """Return the maps from normalised pixels to those of images with ink, [n, 2, 3].

    With slant s about the centroid's row cy, the pixel (x, y) comes from (x + s (y - cy), y); with
    a box, x and y are measured from the middle of the ink and in its own scale.
    """
    slants, middles = _slants(images)
    if not wanted.deslant:
        slants = np.zeros_like(slants)
    back = np.zeros((len(images), 2, 3))
    back[:, 0, 0] = back[:, 1, 1] = 1.0
    back[:, 0, 1], back[:, 0, 2] = slants, -slants * middles
    if wanted.width is None:
        return back
    height, width = images.shape[1:]
    left, right, top, bottom = _extents(images, slants, middles)
    down = (bottom - top) / (_BOX_HEIGHT * height)
    along = (right - left) / (wanted.width * width)
    # A stroke alone, a 1, is widened to a wider stroke, not to a block.
    along = np.maximum(along, down / _LARGEST_STRETCH)
    down = np.maximum(down, along / _LARGEST_STRETCH)
    from_box = np.zeros((len(images), 3, 3))
    from_box[:, 0, 0], from_box[:, 1, 1], from_box[:, 2, 2] = along, down, 1.0
    from_box[:, 0, 2] = (left + right) / 2 - along * (width - 1) / 2
    from_box[:, 1, 2] = (top + bottom) / 2 - down * (height - 1) / 2
    return np.asarray(back @ from_box)


def _slants(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much rows are to be shifted for each row down, and the centroids' rows, [n].

    From the moments of the ink: cov(x, y) / var(y), limited to 1.2 (50 degrees), so that a flat
    stroke is not torn apart. It is the shear that makes the covariance zero; LeCun, Bottou, Bengio,
    Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", section III.A, deslant
    by the second moments of inertia.
    """
    ink = images.astype(np.float64)
    ink /= ink.sum(axis=(1, 2), keepdims=True)
    by_row, by_column = ink.sum(axis=2), ink.sum(axis=1)
    middles = by_row @ np.arange(images.shape[1])
    centres = by_column @ np.arange(images.shape[2])
    down = np.arange(images.shape[1]) - middles[:, np.newaxis]
    along = np.arange(images.shape[2]) - centres[:, np.newaxis]
    spread = (by_row * down**2).sum(axis=1)
    together = np.einsum("nyx,ny,nx->n", ink, down, along, optimize=True)
    # A single row of ink has no slant.
    slants = np.divide(together, spread, out=np.zeros_like(spread), where=spread > _NO_SPREAD)
    return np.clip(slants, -_LARGEST_SLANT, _LARGEST_SLANT), middles


def _extents(
    images: np.ndarray, slants: np.ndarray, middles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the ink's left, right, top and bottom edge once it stands upright, [n] each."""
    height, width = images.shape[1:]
    is_ink = images >= _INK * images.max(axis=(1, 2), keepdims=True)
    has_ink = is_ink.any(axis=2)
    shifts = slants[:, np.newaxis] * (np.arange(height) - middles[:, np.newaxis])
    first = np.where(has_ink, is_ink.argmax(axis=2) - shifts, np.inf)
    last = np.where(has_ink, width - 1 - is_ink[:, :, ::-1].argmax(axis=2) - shifts, -np.inf)
    top = has_ink.argmax(axis=1)
    bottom = height - 1 - has_ink[:, ::-1].argmax(axis=1)
    return first.min(axis=1) - 0.5, last.max(axis=1) + 0.5, top - 0.5, bottom + 0.5
