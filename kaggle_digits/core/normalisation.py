"""Normalised images: slant taken out, ink brought to one size, each by one affine map per image.

Networks that see digits normalised in different ways make fewer errors in common than networks that
see the same images (Ciresan, Meier, Gambardella, Schmidhuber 2011, "Convolutional Neural Network
Committees for Handwritten Character Classification", section 2). A normalisation is a pure function
of one image, so it carries nothing from one row to another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaggle_digits.ground.errors import ConfigurationError, did_you_mean

_LARGEST_SLANT = 1.2
_BOX_HEIGHT = 20 / 28
_LARGEST_STRETCH = 2.0
_INK = 0.25


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
    if name not in NORMALISATIONS:
        raise ConfigurationError(
            f"normalisation was given as {name!r}.", mend=did_you_mean(name, NORMALISATIONS)
        )
    return NORMALISATIONS[name]


def normalise(images: np.ndarray, name: str) -> np.ndarray:
    """Return images normalised, uint8 of the same shape; for `none` the images themselves.

    Slant and size make one map, so that pixels are interpolated once. What comes in from outside is
    black; an image without ink stays as it is.

    Args:
        images: uint8 [n, height, width].
        name: One of `NORMALISATIONS`.

    Raises:
        ConfigurationError: The name is unknown.
    """
    wanted = find_normalisation(name)
    if wanted is None:
        return images
    import cv2

    height, width = images.shape[1:]
    made = np.empty_like(images)
    for row, image in enumerate(images):
        if not image.any():
            made[row] = image
            continue
        made[row] = cv2.warpAffine(
            image,
            _back(image, wanted),
            (width, height),
            # The map says where each pixel comes from; cubic as in augmentation.
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        )
    return made


def _back(image: np.ndarray, wanted: Normalisation) -> np.ndarray:
    """Return the map from the normalised image's pixels to those of an image with ink, [2, 3].

    With slant s about the centroid (cx, cy), the pixel (x, y) comes from (x + s (y - cy), y); with
    a box, x and y are first measured from the image's middle, in the ink's own scale.
    """
    slant, middle = _slant(image) if wanted.deslant else (0.0, 0.0)
    back = np.array([[1.0, slant, -slant * middle], [0.0, 1.0, 0.0]])
    if wanted.width is None:
        return back
    height, width = image.shape
    rows, columns = np.nonzero(image >= _INK * image.max())
    upright = columns - slant * (rows - middle)
    top, bottom = rows.min() - 0.5, rows.max() + 0.5
    left, right = upright.min() - 0.5, upright.max() + 0.5
    down = (bottom - top) / (_BOX_HEIGHT * height)
    along = (right - left) / (wanted.width * width)
    # A stroke alone, a 1, is widened to a wider stroke, not to a block.
    along, down = max(along, down / _LARGEST_STRETCH), max(down, along / _LARGEST_STRETCH)
    from_box = np.array(
        [
            [along, 0.0, (left + right) / 2 - along * (width - 1) / 2],
            [0.0, down, (top + bottom) / 2 - down * (height - 1) / 2],
            [0.0, 0.0, 1.0],
        ]
    )
    return np.asarray(back @ from_box)


def _slant(image: np.ndarray) -> tuple[float, float]:
    """Return by how much rows are to be shifted for each row down, and the centroid's row.

    From the moments of the ink: cov(x, y) / var(y), limited to 1.2 (50 degrees), so that a flat
    stroke is not torn apart. The shear that makes the covariance zero; as used by LeCun, Bottou,
    Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", section III.A,
    who call it deslanting by the second moments of inertia.
    """
    weights = image.astype(np.float64)
    total = weights.sum()
    rows = np.arange(image.shape[0])[:, np.newaxis]
    columns = np.arange(image.shape[1])
    down, along = (weights * rows).sum() / total, (weights * columns).sum() / total
    spread = (weights * (rows - down) ** 2).sum()
    if not spread:
        return 0.0, float(down)
    slant = (weights * (rows - down) * (columns - along)).sum() / spread
    return float(np.clip(slant, -_LARGEST_SLANT, _LARGEST_SLANT)), float(down)
