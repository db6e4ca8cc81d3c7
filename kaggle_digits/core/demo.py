"""The embedded data: scikit-learn's 1,797 real handwritten digits in the competition's CSV form.

They need no account and no network. Two thirds are train.csv, one third is test.csv; the labels
of the test part stay apart and serve as an offline scoreboard.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kaggle_digits.ground.competition import SubmissionFormat
from kaggle_digits.ground.files import require_room, whole_folder, write_bytes
from kaggle_digits.ground.shapes import ImageShape

_SIDE = 28
SHAPE = ImageShape(_SIDE, _SIDE)
_INNER = 22
"""Side of the scaled digit in pixels; the rest is black margin, as in the competition."""

_SEED = 20
_FILES = ("train.csv", "test.csv", "sample_submission.csv")


def is_complete(folder: Path) -> bool:
    """Say whether `embedded` has been written into a folder."""
    competition, truth = _places(folder)
    return truth.is_file() and all((competition / name).is_file() for name in _FILES)


def embedded(folder: Path) -> tuple[Path, Path]:
    """Write the embedded data, unless they are there; the bytes are the same every time.

    Args:
        folder: Where they go.

    Returns:
        The folder with train.csv, test.csv and sample_submission.csv, and the file with the true
        labels of the test part.

    Raises:
        ArtefactError: No room on the disk, or the folder cannot be written.
    """
    competition, truth = _places(folder)
    if is_complete(folder):
        return competition, truth
    images, labels = _digits()
    # RandomState's stream is frozen for good; the newer generators' may change between releases.
    shuffled = np.random.RandomState(_SEED).permutation(len(images))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    in_test = np.zeros(len(images), bool)
    in_test[by_class[2::3]] = True
    train, test = shuffled[~in_test[shuffled]], shuffled[in_test[shuffled]]

    pixels = [f"pixel{number}" for number in range(_SIDE * _SIDE)]
    train_rows = np.column_stack([labels[train], images[train].reshape(len(train), -1)])
    contents = (
        _table(["label", *pixels], train_rows),
        _table(pixels, images[test].reshape(len(test), -1)),
        SubmissionFormat().render(_ids(len(test)), ["0"] * len(test)),
    )
    require_room(folder, sum(map(len, contents)) + 65536, "the embedded digits")
    write_bytes(truth, SubmissionFormat().render(_ids(len(test)), [str(v) for v in labels[test]]))
    with whole_folder(competition) as place:
        for name, content in zip(_FILES, contents, strict=True):
            (place / name).write_bytes(content)
    return competition, truth


def _places(folder: Path) -> tuple[Path, Path]:
    return folder / "competition", folder / "truth" / "labels.csv"


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [1797, 28, 28] images and int64 [1797] labels."""
    import cv2
    from sklearn.datasets import load_digits

    # 8×8 pixels of 0 to 16, the number of inked ones in a block of 4×4.
    small, labels = load_digits(return_X_y=True)
    images = np.zeros((len(small), _SIDE, _SIDE), np.uint8)
    margin = (_SIDE - _INNER) // 2
    inner = slice(margin, margin + _INNER)
    for image, values in zip(images, small.reshape(-1, 8, 8), strict=True):
        large = cv2.resize(values * (255 / 16), (_INNER, _INNER), interpolation=cv2.INTER_CUBIC)
        # Cubic interpolation overshoots at edges.
        image[inner, inner] = np.clip(np.rint(large), 0, 255)
    return images, labels.astype(np.int64)


def _ids(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


def _table(header: Iterable[str], rows: np.ndarray) -> bytes:
    lines = [",".join(header), *(",".join(map(str, row)) for row in rows.tolist())]
    return ("\r\n".join(lines) + "\r\n").encode()
