"""Arrays that a user has, made into the images that networks are trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.shapes import COLOUR, ImageShape


class ArrayError(DataError, ValueError):
    """Arrays that cannot be used; a `ValueError` too, as scikit-learn's users expect."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The range of values that becomes 0 to 255.

    Args:
        low: Becomes 0, as does what is below.
        high: Becomes 255, as does what is above.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Scaling:
        """Find the range of images.

        Bytes are taken as they are; values of 0 to 1 as shares; values of 0 to 255 that reach into
        the upper half as bytes; of others the smallest and the largest are the ends.

        Args:
            values: Numbers, of any shape, at least one.
        """
        low, high = float(values.min()), float(values.max())
        if values.dtype == np.uint8 or (low >= 0 and 127 < high <= 255):
            return cls(0.0, 255.0)
        if low >= 0 and high <= 1:
            return cls(0.0, 1.0)
        return cls(low, high if high > low else low + 1)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the values as bytes, uint8, of the same shape."""
        if values.dtype == np.uint8 and (self.low, self.high) == (0.0, 255.0):
            return values
        span = (values.astype(np.float64) - self.low) / (self.high - self.low)
        scaled: np.ndarray = np.rint(255 * span.clip(0, 1)).astype(np.uint8)
        return scaled

    def __str__(self) -> str:
        return f"values of {self.low:g} to {self.high:g} become 0 to 255"


def as_images(values: np.ndarray, shape: ImageShape | None) -> np.ndarray:
    """Return images as [n, height, width], in colour [n, height, width, 3], values as they are.

    Args:
        values: Numbers, [n, height, width], [n, height, width, channels] of 1 channel, 3 (red,
            green, blue) or 4 (the last one, opacity, is left out), or flat rows [n, pixels].
        shape: Of flat rows; None for square ones in grey.

    Raises:
        ArrayError: It has another form.
    """
    if values.ndim == 2:
        return _of_rows(values, shape)
    if values.ndim == 4 and values.shape[3] == 1:
        return values[..., 0]
    if values.ndim == 4 and values.shape[3] in (COLOUR, COLOUR + 1):
        return values[..., :COLOUR]
    if values.ndim == 3:
        return values
    raise ArrayError(
        f"Images were given as an array of the shape {values.shape}; expected [n, height, width], "
        "[n, height, width, channels] of 1, 3 or 4 channels, or flat rows [n, pixels]."
    )


def _of_rows(values: np.ndarray, shape: ImageShape | None) -> np.ndarray:
    rows, pixels = values.shape
    if shape is None:
        side = math.isqrt(pixels)
        shape = ImageShape(side, side)
    if shape.count != pixels:
        raise ArrayError(
            f"Rows have {pixels} values; expected {shape.count}, or a square number.",
            mend="Give image_shape=(height, width), in colour (height, width, 3), or images as [n, "
            "height, width].",
        )
    if shape.planar:
        planes = values.reshape(rows, shape.planes, shape.height, shape.width)
        return np.moveaxis(planes, 1, -1)
    return values.reshape(rows, *shape.sides)
