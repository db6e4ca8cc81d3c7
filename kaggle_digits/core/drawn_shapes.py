"""The second embedded data: 32×32 colour images of drawn shapes, as PNG files in one zip.

Drawn, not fetched: circles, crosses, rings, squares, stars and triangles of any colour, size, place
and turn on shaded grounds with some noise. Two thirds have labels, one third is to be labelled; its
true labels lie apart and serve as an offline scoreboard.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kaggle_digits.core.arrays import png_bytes
from kaggle_digits.ground.competition import SubmissionFormat
from kaggle_digits.ground.files import write_bytes

NAME = "shapes"
"""What --data takes for them."""

_SIDE = 32
_FINE = 3
"""Points along a pixel's side that its shade is the mean of."""

_IMAGES = 1800
_SEED = 7
_FORM = SubmissionFormat("image", "shape", newline="\n")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEAST_CONTRAST = 130.0
_NOISE = 8.0
_LARGEST_TURN = np.pi / 6

_Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    radius = np.hypot(x, y)
    return np.asarray((radius < 1) & (radius > 0.6))


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sides = [
        np.cos(angle) * x + np.sin(angle) * y for angle in np.pi * np.array([0.5, 7 / 6, 11 / 6])
    ]
    return np.asarray(np.max(sides, axis=0) < 0.5)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across, along = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
    return np.asarray((across < 0.28) & (along < 0.95))


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # A fifth of a turn folded onto its middle: two straight edges from the tip to the notch.
    turn = np.abs((np.arctan2(y, x) * 5 / (2 * np.pi) + 0.5) % 1 - 0.5) * 2 * np.pi / 5
    radius, notch = np.hypot(x, y), 0.42
    tip, low = np.array([1.0, 0.0]), notch * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    along, out = radius * np.cos(turn), radius * np.sin(turn)
    edge = (low[0] - tip[0]) * (out - tip[1]) - (low[1] - tip[1]) * (along - tip[0])
    return np.asarray(edge > 0)


_SHAPES: dict[str, _Inside] = {
    "circle": lambda x, y: np.hypot(x, y) < 0.9,
    "cross": _cross,
    "ring": _ring,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.75,
    "star": _star,
    "triangle": _triangle,
}


def embedded(folder: Path) -> tuple[Path, Path]:
    """Write the drawn shapes, unless they are there; the images are the same every time.

    Args:
        folder: Where they go.

    Returns:
        The competition's zip, and the file with the true labels of its test images.

    Raises:
        ArtefactError: No room on the disk, or the folder cannot be written.
    """
    packed, truth = folder / "shapes.zip", folder / "truth.csv"
    if not is_complete(folder):
        images, labels = draw()
        split = _IMAGES * 2 // 3
        names = [f"{number:04d}" for number in range(1, _IMAGES + 1)]
        test = names[split:]
        files = {
            f"{'train' if row < split else 'test'}/{name}.png": png_bytes(images[row])
            for row, name in enumerate(names)
        }
        files["train.csv"] = _FORM.render(names[:split], labels[:split])
        files["sample_submission.csv"] = _FORM.render(test, [min(_SHAPES)] * len(test))
        write_bytes(truth, _FORM.render(test, labels[split:]))
        write_bytes(packed, _zip(files))
    return packed, truth


def are_meant(path: Path) -> bool:
    """Say whether a path given for data means these: a folder of that name comes first."""
    return path == Path(NAME) and not path.exists()


def is_complete(folder: Path) -> bool:
    """Say whether `embedded` has been written into a folder."""
    return (folder / "shapes.zip").is_file() and (folder / "truth.csv").is_file()


def draw() -> tuple[np.ndarray, list[str]]:
    """Return uint8 [1800, 32, 32, 3] images in red, green and blue, and what each shows."""
    # RandomState's stream is frozen for good; the newer generators' may change between releases.
    random = np.random.RandomState(_SEED)
    labels = [str(name) for name in random.permutation(np.resize(list(_SHAPES), _IMAGES))]
    down, along = (np.mgrid[0 : _SIDE * _FINE, 0 : _SIDE * _FINE] + 0.5) / _FINE
    images = np.empty((_IMAGES, _SIDE, _SIDE, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        radius = random.uniform(8, 13.5)
        middle = random.uniform(radius, _SIDE - radius, 2)
        angle = random.uniform(-_LARGEST_TURN, _LARGEST_TURN)
        x, y = (along - middle[0]) / radius, (down - middle[1]) / radius
        inside = _SHAPES[label](
            np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        )
        cover = inside.reshape(_SIDE, _FINE, _SIDE, _FINE).mean(axis=(1, 3))[..., np.newaxis]
        ground, ink = random.uniform(0, 255, (2, 3))
        while np.linalg.norm(ground - ink) < _LEAST_CONTRAST:
            ink = random.uniform(0, 255, 3)
        shade = random.uniform(-1.2, 1.2, (2, 3))
        rows, columns = np.mgrid[0:_SIDE, 0:_SIDE, 0:1][:2] - _SIDE / 2
        surface = ground + rows * shade[0] + columns * shade[1]
        values = surface * (1 - cover) + ink * cover + random.normal(0, _NOISE, surface.shape)
        image[:] = np.clip(np.rint(values), 0, 255)
    return images, labels


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return out.getvalue()
