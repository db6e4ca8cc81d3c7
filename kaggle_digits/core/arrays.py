"""The one reader of .npy arrays: an array, or an error of two kinds, whatever the file holds."""

from __future__ import annotations

import tokenize
import zipfile
from pathlib import Path
from typing import IO, Literal

import numpy as np


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
