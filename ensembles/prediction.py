"""New images, labelled by the members whose networks were kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaggle_digits.core.data.columns import arrange_one, read_header
from kaggle_digits.core.data.source import Source, open_packed
from kaggle_digits.core.data.table import read_table
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.competition import Competition, require_distinct_ids
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, DataError
from kaggle_digits.ground.filenames import is_table
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.shapes import ImageShape
from kaggle_digits.records.members import MemberStore, require_same
from kaggle_digits.records.plan import MemberKey

IMAGE, LABEL, PROBABILITY = "image", "label", "p_"
"""The columns of the table: its first two names, and what stands before a class in the others."""


@dataclass(frozen=True, slots=True, eq=False)
class NewImages:
    """Images that are not of the competition's files.

    Args:
        names: File names, or the ids of a CSV file; n of them.
        grey: uint8 [n, height, width].
        opaque: How much each pixel covers what it is laid on, 255 for all of it; as `grey`.
    """

    names: tuple[str, ...]
    grey: np.ndarray
    opaque: np.ndarray


def read_images(
    paths: Sequence[Path],
    competition: Competition,
    say: Callable[[str], None] = lambda text: None,
) -> NewImages:
    """Read new images and check that they look like the competition's.

    Args:
        paths: Each a PNG, a folder of them, or a CSV in the form of test.csv.
        competition: Gives the size.
        say: Told of what is left out.

    Returns:
        The images in the order of the paths; those of a folder in the order of their names. Images
        in colour are turned into grey.

    Raises:
        DataError: A path is not there, is of another kind, is broken, or its images have another
            size.
    """
    parts = [_read(path, competition, say) for path in paths]
    return NewImages(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.grey for part in parts]),
        np.concatenate([part.opaque for part in parts]),
    )


def with_weights(store: MemberStore, keys: Sequence[MemberKey], data: str) -> list[MemberKey]:
    """Return the planned members whose networks were kept.

    Args:
        store: Where they are.
        keys: The plan's members.
        data: Digest of the competition's data.

    Raises:
        ArtefactError: A member is of other data, or no network was kept.
    """
    require_same(keys, data)
    kept = [key for key in keys if store.has_weights(key)]
    if not kept:
        raise ArtefactError(
            f"None of the {len(keys)} planned members has weights: their networks were not kept.",
            mend="Call `kaggle-digits cv-train --keep-weights`.",
        )
    return kept


def predict_images(
    store: MemberStore,
    keys: Sequence[MemberKey],
    images: np.ndarray,
    classes: int,
    progress: Progress,
) -> np.ndarray:
    """Return the mean of members' softmax on images.

    Args:
        store: Where the members are.
        keys: Members whose networks were kept.
        images: uint8 [n, height, width].
        classes: Number of classes.
        progress: Told of every member.

    Returns:
        float64 [n, classes].

    Raises:
        ArtefactError: A network is not the one that was stored, or gives no softmax output.
    """
    from kaggle_digits.core import inference

    total = np.zeros((len(images), classes))
    with progress.task("predict", len(keys), "members") as task:
        for key in keys:
            path = store.checked_model(key)
            config = key.config
            model = inference.load(path)
            found = inference.predict(model, images, config.views, config.normalisation)
            require_softmax(found, (len(images), classes), str(path))
            total += found
            task.advance()
    return total / len(keys)


def render(new: NewImages, probabilities: np.ndarray, classes: Sequence[str]) -> bytes:
    """Return a CSV file's bytes: each image's name, label and the probability of each class.

    Args:
        new: The images, n of them.
        probabilities: float [n, classes].
        classes: The classes' names.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([IMAGE, LABEL, *(f"{PROBABILITY}{name}" for name in classes)])
    for name, row in zip(new.names, probabilities, strict=True):
        label = classes[int(row.argmax())]
        writer.writerow([name, label, *(f"{value:.8f}" for value in row)])
    return out.getvalue().encode()


def _read(path: Path, competition: Competition, say: Callable[[str], None]) -> NewImages:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".png")
        if not files:
            raise DataError(
                f"{path} has no PNG files.", mend="Give a folder of PNG files, a PNG, or a CSV."
            )
        read = [_read_png(file, competition) for file in files]
        grey, opaque = zip(*read, strict=True)
        return NewImages(tuple(file.name for file in files), np.stack(grey), np.stack(opaque))
    if not path.exists():
        raise DataError(
            f"There is nothing at {path}.", mend="Give a folder of PNG files, a PNG, or a CSV."
        )
    if path.suffix.lower() == ".png":
        one, cover = _read_png(path, competition)
        return NewImages((path.name,), one[np.newaxis], cover[np.newaxis])
    if is_table(path.name):
        return _read_csv(path, competition, say)
    raise DataError(
        f"{path} is neither a folder, nor a PNG, nor a CSV.",
        mend="Save images as PNG, or as rows of a CSV in the form of test.csv.",
    )


def _read_png(path: Path, competition: Competition) -> tuple[np.ndarray, np.ndarray]:
    """Return grey and opacity, uint8 [height, width] each."""
    import cv2

    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise _unreadable(path, error) from error
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if len(content) else None
    if image is None:
        raise DataError(f"{path} cannot be read as an image.", mend="Save it as PNG again.")
    if image.dtype != np.uint8:
        raise DataError(
            f"{path} has {8 * image.dtype.itemsize} bits per value; expected 8.",
            mend="Save it as an 8-bit PNG.",
        )
    _require_size(image.shape[:2], competition, str(path))
    opaque = np.full(image.shape[:2], 255, np.uint8)
    if image.ndim == 3 and image.shape[2] == 4:
        opaque = np.ascontiguousarray(image[..., 3])
        image = np.ascontiguousarray(image[..., :3])
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.ascontiguousarray(image), opaque


def _read_csv(path: Path, competition: Competition, say: Callable[[str], None]) -> NewImages:
    source = Source(path.parent, {"test": path.name}, (), lambda name: open_packed(path))
    with source.open("test") as stream:
        header = read_header(stream, path.name)
    size = ImageShape(competition.height, competition.width)
    label = competition.form.label_column
    try:
        layout, remarks = arrange_one(header, path.name, size, label)
    except ConfigurationError:
        # Their own size, for the message.
        layout, remarks = arrange_one(header, path.name, None, label)
    _require_size((layout.height, layout.width), competition, str(path))
    table = read_table(source, "test", layout)
    for remark in remarks:
        say(remark)
    names = table.ids
    if names is None:
        names = [str(row + 1) for row in range(len(table.images))]
    require_distinct_ids(names, path.name)
    return NewImages(tuple(names), table.images, np.full_like(table.images, 255))


def _require_size(size: Sequence[int], competition: Competition, name: str) -> None:
    height, width = size
    if (height, width) != (competition.height, competition.width):
        raise DataError(
            f"{name} has images of {height}×{width} pixels (height × width); expected "
            f"{competition.height}×{competition.width}, as in the competition.",
            mend="Scale or cut them to that size, with the background as there.",
        )


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read: {error.strerror or error}.", mend="Check its permissions."
    )
