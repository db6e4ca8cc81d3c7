"""Arrays that a user has, made into the grey images that networks are trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.shapes import ImageShape

_GREY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (ITU-R BT.601), as image libraries turn colours into grey."""


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


def as_grey(values: np.ndarray, shape: ImageShape | None) -> np.ndarray:
    """Return images as [n, height, width], their values as they are.

    Args:
        values: Numbers, [n, height, width], [n, height, width, channels] of 1 channel, 3 (red,
            green, blue) or 4 (the last one, opacity, is left out), or flat rows [n, pixels].
        shape: Of flat rows; None for square ones.

    Raises:
        ArrayError: It has another form.
    """
    if values.ndim == 2:
        return values.reshape(len(values), *_sides(values.shape[1], shape))
    if values.ndim == 4 and values.shape[3] == 1:
        return values[..., 0]
    if values.ndim == 4 and values.shape[3] in (3, 4):
        grey = values[..., :3] @ _GREY
        whole: np.ndarray = np.rint(grey).astype(np.uint8) if values.dtype == np.uint8 else grey
        return whole
    if values.ndim == 3:
        return values
    raise ArrayError(
        f"Images were given as an array of the shape {values.shape}; expected [n, height, width], "
        "[n, height, width, channels] of 1, 3 or 4 channels, or flat rows [n, pixels]."
    )


def _sides(pixels: int, shape: ImageShape | None) -> tuple[int, int]:
    if shape is None:
        side = math.isqrt(pixels)
        shape = ImageShape(side, side)
    if shape.height * shape.width != pixels:
        raise ArrayError(
            f"Rows have {pixels} values; expected {shape.height * shape.width}, or a square "
            "number.",
            mend="Give image_shape=(height, width), or images as [n, height, width].",
        )
    return shape.height, shape.width
