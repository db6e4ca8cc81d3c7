"""Grey images as PNG files (PNG specification, third edition): small, and without a library."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_OF_EIGHT_BITS = (8, 0, 0, 0, 0)


def png(image: np.ndarray) -> bytes:
    """Return a PNG of an image, dark where its values are high, as on paper.

    Args:
        image: uint8 [height, width].
    """
    height, width = image.shape
    lines = b"".join(b"\0" + (255 - line).tobytes() for line in image)
    header = struct.pack(">IIBBBBB", width, height, *_GREY_OF_EIGHT_BITS)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(lines, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
