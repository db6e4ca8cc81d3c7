"""One image: a file's bytes to pixels, whatever it is saved as, and pixels to what is wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaggle_digits.ground.shapes import COLOUR

_JPEG = b"\xff\xd8\xff"
_OF_16_BITS = 257
"""What 65535 is divided by to be 255."""


class UndecodableError(ValueError):
    """Bytes that are no image which can be used here; its text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One image.

    Args:
        pixels: uint8 [height, width], or [height, width, 3] in red, green and blue.
        opaque: How much each pixel covers what it is laid on, uint8 [height, width]; None where all
            of them cover it wholly.
    """

    pixels: np.ndarray
    opaque: np.ndarray | None

    @property
    def is_grey(self) -> bool:
        """Whether it is grey, be it saved as such or in colour."""
        return _is_grey(self.pixels)

    def on_black(self) -> np.ndarray:
        """Return the pixels laid on black."""
        return self.pixels if self.opaque is None else laid_on(self.pixels, self.opaque, 0)


def decode(content: bytes) -> Decoded:
    """Decode an image file: PNG, JPEG, BMP, TIFF, WebP or GIF, of 8 or 16 bits.

    Values of 16 bits become those of 8; a JPEG is turned as its camera says.

    Raises:
        UndecodableError: It is none of these, or broken.
    """
    import cv2

    if not content:
        raise UndecodableError("is empty")
    # A JPEG's turn is kept apart from its pixels; only these flags look at it. It has no opacity.
    is_jpeg = content.startswith(_JPEG)
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if is_jpeg else cv2.IMREAD_UNCHANGED
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise UndecodableError("cannot be read as an image") from error
    if image is None or not image.size:
        raise UndecodableError("cannot be read as an image")
    if image.dtype == np.uint16:
        image = np.rint(image.astype(np.float32) / _OF_16_BITS).astype(np.uint8)
    if image.dtype != np.uint8:
        raise UndecodableError(f"holds values of the kind {image.dtype}, not of 8 or 16 bits")
    opaque = None
    if image.ndim == 3 and image.shape[2] in (2, COLOUR + 1):
        cover = np.ascontiguousarray(image[..., -1])
        opaque = None if cover.min() == 255 else cover
        image = image[..., :-1]
    if image.ndim == 3 and image.shape[2] not in (1, COLOUR):
        raise UndecodableError(f"has {image.shape[2]} planes, neither grey nor colour")
    # OpenCV's order is blue, green, red.
    image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if image.ndim == 3:
        return Decoded(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), opaque)
    return Decoded(np.ascontiguousarray(image), opaque)


def as_grey(pixels: np.ndarray) -> np.ndarray:
    """Return one image in grey, uint8 [height, width]."""
    import cv2

    if pixels.ndim == 2:
        return pixels
    if _is_grey(pixels):
        # Grey saved in colour stays what it is, to the last bit.
        return np.ascontiguousarray(pixels[..., 0])
    grey: np.ndarray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return grey


def _is_grey(pixels: np.ndarray) -> bool:
    return pixels.ndim == 2 or bool((pixels == pixels[..., :1]).all())


def laid_on(pixels: np.ndarray, opaque: np.ndarray, background: int) -> np.ndarray:
    """Return images laid on a grey, uint8 as `pixels`.

    Args:
        pixels: uint8, one image or several, in grey or in colour.
        opaque: How much each pixel covers the background, 255 for all of it; uint8 as `pixels` in
            grey.
        background: 0 to 255.
    """
    share = opaque.astype(np.float64) / 255
    share = share.reshape(*share.shape, *[1] * (pixels.ndim - share.ndim))
    laid: np.ndarray = np.rint(pixels * share + background * (1 - share)).astype(np.uint8)
    return laid


def as_colour(pixels: np.ndarray) -> np.ndarray:
    """Return one image in colour, uint8 [height, width, 3]."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., np.newaxis], COLOUR, axis=2)


def fitted(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image brought to a size: scaled as a whole, what is left around it black.

    One that has the size already stays as it is, to the last bit.

    Args:
        pixels: uint8 [rows, columns] or [rows, columns, 3].
        height: Wanted.
        width: Wanted.
    """
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    rows, columns = pixels.shape[:2]
    scale = min(height / rows, width / columns)
    inner = max(1, round(rows * scale)), max(1, round(columns * scale))
    # By areas where it gets smaller: other ways skip pixels, and thin strokes with them.
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(pixels, (inner[1], inner[0]), interpolation=way)
    if inner == (height, width):
        return np.asarray(scaled)
    made = np.zeros((height, width, *pixels.shape[2:]), np.uint8)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    made[top : top + inner[0], left : left + inner[1]] = scaled
    return made
