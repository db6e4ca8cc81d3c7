"""Arrays: the one reader of .npy files, arrays as files, and images in colour as grey ones."""

from __future__ import annotations

import io
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Literal

import numpy as np

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue (ITU-R BT.601), as image libraries turn colours into grey."""

_AT_A_TIME = 1024


def luminance(images: np.ndarray) -> np.ndarray:
    """Return images in grey, uint8 [n, height, width]; grey ones themselves.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3].
    """
    if images.ndim == 3:
        return images
    grey = np.empty(images.shape[:3], np.uint8)
    for start in range(0, len(images), _AT_A_TIME):
        some = slice(start, start + _AT_A_TIME)
        np.rint(images[some] @ _GREY, out=grey[some], casting="unsafe")
    return grey


def png_bytes(pixels: np.ndarray) -> bytes:
    """Return a PNG file's bytes of one image.

    Args:
        pixels: uint8 [height, width], or [height, width, 3] in red, green and blue.
    """
    import cv2

    # OpenCV's order is blue, green, red.
    return bytes(cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])[1])


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an .npy file's bytes."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def load_array(file: Path | IO[bytes], mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Read an .npy file.

    Args:
        file: Its path, or its bytes as a stream.
        mmap_mode: `r` to map it into memory.

    Raises:
        OSError: It is not there or cannot be read.
        ValueError: It is no array, or a cut one.
    """
    if isinstance(file, Path) and mmap_mode is None:
        # Opened here: NumPy would leave a file that is none open.
        with open(file, "rb") as stream:
            return load_array(stream)
    try:
        found = np.load(file, mmap_mode=mmap_mode, allow_pickle=False)
    except (EOFError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile) as error:
        raise ValueError(f"it is no whole array ({error})") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError("it is an archive of arrays, not one")
    return found
