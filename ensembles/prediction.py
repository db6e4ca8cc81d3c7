"""New images, labelled by the members whose networks were kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ensembles.members import MemberKey, MemberStore, require_same
from kaggle_digits.core.data.columns import Layout, read_header
from kaggle_digits.core.data.pixels import find_grid, shorten
from kaggle_digits.core.data.source import Source
from kaggle_digits.core.data.table import read_table
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.competition import Competition, require_distinct_ids
from kaggle_digits.ground.errors import ArtefactError, DataError
from kaggle_digits.ground.progress import Progress

_LABEL_NAMES = frozenset({"label", "labels"})


@dataclass(frozen=True, slots=True, eq=False)
class NewImages:
    """Images that are not of the competition's files.

    Args:
        names: File names, or the ids of a CSV file; n of them.
        images: uint8 [n, height, width].
    """

    names: tuple[str, ...]
    images: np.ndarray


def read_images(paths: Sequence[Path], competition: Competition) -> NewImages:
    """Read new images and check that they look like the competition's.

    Args:
        paths: Each a PNG, a folder of them, or a CSV in the form of test.csv.
        competition: Gives the size; the background must be as dark as there.

    Returns:
        The images in the order of the paths; those of a folder in the order of their names. Images
        in colour are turned into grey, transparent ones are laid on black.

    Raises:
        DataError: A path is not there, is of another kind, is broken, or its images have another
            size.
    """
    parts = [_read(path, competition) for path in paths]
    return NewImages(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.images for part in parts]),
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
    writer.writerow(["image", "label", *(f"p_{name}" for name in classes)])
    for name, row in zip(new.names, probabilities, strict=True):
        label = classes[int(row.argmax())]
        writer.writerow([name, label, *(f"{value:.8f}" for value in row)])
    return out.getvalue().encode()


def _read(path: Path, competition: Competition) -> NewImages:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".png")
        if not files:
            raise DataError(
                f"{path} has no PNG files.", mend="Give a folder of PNG files, a PNG, or a CSV."
            )
        images = [_read_png(file, competition) for file in files]
        return NewImages(tuple(file.name for file in files), np.stack(images))
    if not path.exists():
        raise DataError(
            f"There is nothing at {path}.", mend="Give a folder of PNG files, a PNG, or a CSV."
        )
    if path.suffix.lower() == ".png":
        return NewImages((path.name,), _read_png(path, competition)[np.newaxis])
    if path.suffix.lower() == ".csv":
        return _read_csv(path, competition)
    raise DataError(
        f"{path} is neither a folder, nor a PNG, nor a CSV.",
        mend="Save images as PNG, or as rows of a CSV in the form of test.csv.",
    )


def _read_png(path: Path, competition: Competition) -> np.ndarray:
    """Return uint8 [height, width]."""
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
    if image.ndim == 3 and image.shape[2] == 4:
        opaque = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * opaque).astype(np.uint8)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    grey: np.ndarray = np.ascontiguousarray(image)
    return grey


def _read_csv(path: Path, competition: Competition) -> NewImages:
    @contextmanager
    def opener(name: str) -> Iterator[IO[bytes]]:
        try:
            with open(path.with_name(name), "rb") as stream:
                yield stream
        except OSError as error:
            raise _unreadable(path, error) from error

    source = Source(path.parent, {"test": path.name}, (), opener)
    with source.open("test") as stream:
        header = read_header(stream, path.name)
    grid = find_grid(header, path.name)
    _require_size((grid.height, grid.width), competition, str(path))
    others = [name for name in header if name not in set(grid.names)]
    labels = _LABEL_NAMES | {competition.form.label_column.casefold()}
    if len(others) > 1 or any(name.casefold() in labels for name in others):
        raise DataError(
            f"{path} has {shorten(others)} beside the pixels; expected at most one column, the id, "
            "as in test.csv.",
            mend="Remove the others.",
        )
    place = {name: position for position, name in enumerate(header)}
    table = read_table(
        source,
        "test",
        Layout(
            columns=header,
            pixels=tuple(place[name] for name in grid.names),
            height=grid.height,
            width=grid.width,
            label=None,
            id=place[others[0]] if others else None,
        ),
    )
    if table.ids is None:
        return NewImages(tuple(str(row + 1) for row in range(len(table.images))), table.images)
    require_distinct_ids(table.ids, path.name)
    return NewImages(tuple(table.ids), table.images)


def _require_size(size: Sequence[int], competition: Competition, name: str) -> None:
    height, width = size
    if (height, width) != (competition.height, competition.width):
        raise DataError(
            f"{name} has images of {height}×{width} pixels (height × width); expected "
            f"{competition.height}×{competition.width}, as in the competition.",
            mend="Scale or cut them to that size, with the background black.",
        )


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read: {error.strerror or error}.", mend="Check its permissions."
    )
