"""Images as PNG files (PNG specification, third edition): small, and without a library."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_OF_EIGHT_BITS = (8, 0, 0, 0, 0)
_COLOUR_OF_EIGHT_BITS = (8, 2, 0, 0, 0)


def png(image: np.ndarray) -> bytes:
    """Return a PNG of an image: grey dark where its values are high, as on paper; colour as it is.

    Args:
        image: uint8 [height, width] or [height, width, 3].
    """
    height, width = image.shape[:2]
    is_grey = image.ndim == 2
    lines = b"".join(b"\0" + (255 - line if is_grey else line).tobytes() for line in image)
    kind = _GREY_OF_EIGHT_BITS if is_grey else _COLOUR_OF_EIGHT_BITS
    header = struct.pack(">IIBBBBB", width, height, *kind)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(lines, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
