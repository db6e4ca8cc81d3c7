"""New images, labelled by the members whose networks were kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensembles.likeness import Training, fit
from ensembles.results import Predicted
from kaggle_digits.core import portable
from kaggle_digits.core.data.columns import arrange_one, read_header
from kaggle_digits.core.data.decoding import UndecodableError, as_colour, as_grey, decode, fitted
from kaggle_digits.core.data.source import Source, open_packed
from kaggle_digits.core.data.table import read_table
from kaggle_digits.core.place import Place
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.competition import Competition, require_distinct_ids
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, DataError
from kaggle_digits.ground.filenames import is_image, is_table
from kaggle_digits.ground.files import write_bytes
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import MemberStore, require_same
from kaggle_digits.records.plan import MemberKey

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_MEND = "Give a folder of image files, an image file, or a CSV."
IMAGE, LABEL, PROBABILITY = "image", "label", "p_"
"""The columns of the table: its first two names, and what stands before a class in the others."""


@dataclass(frozen=True, slots=True, eq=False)
class NewImages:
    """Images that are not of the competition's files.

    Args:
        names: File names, or the ids of a CSV file; n of them.
        pixels: uint8 [n, height, width], in colour [n, height, width, 3].
        opaque: How much each pixel covers what it is laid on, 255 for all of it; uint8 [n, height,
            width].
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    opaque: np.ndarray


def label(
    place: Place, images: Sequence[Path], *, model: Path | None, output: Path, invert: str
) -> Predicted:
    """Label new images, and write the table.

    Args:
        place: Gives data and workspace.
        images: As for `read_images`.
        model: A network's file; None for the members.
        output: The table's file.
        invert: One of `names.INVERT`.

    Raises:
        ConfigurationError: The model's name has another ending.
        DataError: Images cannot be read, are of another size, or none is like the training images.
        ArtefactError: No network was kept, or one is broken, or of other images or classes.
    """
    if model is not None:
        portable.require_form("model", model)
    progress, dataset = place.progress, place.data()
    competition = dataset.competition
    predictor = (
        of_members(place.workspace, dataset, progress)
        if model is None
        else of_file(model, competition)
    )
    new = read_images(images, competition, progress.say)
    seen = fit(new.names, new.pixels, new.opaque, Training(dataset.images), invert)
    for remark in seen.remarks():
        progress.say(f"predict: {remark}")
    if predictor.members < predictor.planned:
        progress.say(
            f"predict: {predictor.members} of {predictor.planned} planned members have weights"
        )
    found = predictor.predict(seen.images).astype("float64")
    write_bytes(output, render(new, found, competition.classes))
    return Predicted(
        names=new.names,
        probabilities=found,
        classes=competition.classes,
        images=seen.images,
        members=predictor.members,
        planned=predictor.planned,
        looks=seen,
        path=output,
        model=model,
    )


def read_images(
    paths: Sequence[Path],
    competition: Competition,
    say: Callable[[str], None] = lambda text: None,
) -> NewImages:
    """Read new images and check that they look like the competition's.

    Args:
        paths: Each an image file, a folder of them, or a CSV in the form of test.csv.
        competition: Gives the size, and whether images are in colour.
        say: Told of what is left out.

    Returns:
        The images in the order of the paths; those of a folder in the order of their names, in grey
        or in colour as the competition's are. They are scaled where the competition's were.

    Raises:
        DataError: A path is not there, is of another kind, is broken, or its images have another
            size.
    """
    parts = [_read(path, competition, say) for path in paths]
    return NewImages(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.opaque for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Predictor:
    """What labels new images.

    Args:
        predict: From uint8 [n, height, width], in colour [n, height, width, 3], to probabilities,
            float [n, classes].
        members: How many members predict; 0 where a network of a file does.
        planned: How many are in the plan.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    members: int = 0
    planned: int = 0


def of_members(workspace: Workspace, dataset: Dataset, progress: Progress) -> Predictor:
    """Return the planned members whose networks were kept.

    Raises:
        ArtefactError: There is no plan, a member is of other data, or no network was kept.
    """
    store = MemberStore(workspace)
    planned = store.read_plan()[1]
    kept = with_weights(store, planned, dataset.digest)
    classes = len(dataset.competition.classes)
    predict = partial(predict_images, store, kept, classes=classes, progress=progress)
    return Predictor(predict, len(kept), len(planned))


def of_file(path: Path, competition: Competition) -> Predictor:
    """Return the network of a file, as `distil` writes it.

    Raises:
        ConfigurationError: It is not there, or cannot be run here.
        ArtefactError: It is no such network, or one of other images or classes.
    """
    size = competition.height, competition.width, competition.planes
    return Predictor(portable.open_network(path, size, competition.classes))


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
            mend="Call `kaggle-digits cv-train --add --keep-weights`.",
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
        images: uint8 [n, height, width], in colour [n, height, width, 3].
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
            found = inference.predict(inference.load(path), images, key.config)
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
        files = sorted(file for file in path.iterdir() if is_image(file.name))
        if not files:
            raise DataError(f"{path} has no image files.", mend=_MEND)
        read = [_read_image(file, competition) for file in files]
        pixels, opaque = zip(*read, strict=True)
        return NewImages(tuple(file.name for file in files), np.stack(pixels), np.stack(opaque))
    if not path.exists():
        raise DataError(f"There is nothing at {path}.", mend=_MEND)
    if is_image(path.name):
        one, cover = _read_image(path, competition)
        return NewImages((path.name,), one[np.newaxis], cover[np.newaxis])
    if is_table(path.name):
        return _read_csv(path, competition, say)
    raise DataError(
        f"{path} is neither a folder, nor an image file, nor a CSV.",
        mend="Save images as PNG, or as rows of a CSV in the form of test.csv.",
    )


def _read_image(path: Path, competition: Competition) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels and their opacity, uint8 [height, width]."""
    try:
        found = decode(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from error
    except UndecodableError as error:
        raise DataError(f"{path} {error}.", mend="Save it as PNG again.") from error
    pixels = as_grey(found.pixels) if competition.planes == 1 else as_colour(found.pixels)
    opaque = found.opaque
    if opaque is None:
        opaque = np.full(pixels.shape[:2], 255, np.uint8)
    if competition.fitted:
        size = competition.height, competition.width
        return fitted(pixels, *size), _cover(opaque, *size)
    _require_size(pixels.shape[:2], competition, str(path))
    return pixels, opaque


def _cover(opaque: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return opacity scaled as the pixels are; what is left around them counts as black there."""
    bare = 255 - fitted(255 - opaque, height, width)
    return np.asarray(bare)


def _read_csv(path: Path, competition: Competition, say: Callable[[str], None]) -> NewImages:
    source = Source(path.parent, {"test": path.name}, (), lambda name: open_packed(path))
    with source.open("test") as stream:
        header = read_header(stream, path.name)
    size = competition.shape
    label = competition.form.label_column
    try:
        layout, remarks = arrange_one(header, path.name, size, label)
    except ConfigurationError:
        # Their own size, for the message.
        layout, remarks = arrange_one(header, path.name, None, label)
    _require_size((layout.shape.height, layout.shape.width), competition, str(path))
    table = read_table(source, "test", layout)
    for remark in remarks:
        say(remark)
    names = table.ids
    if names is None:
        names = [str(row + 1) for row in range(len(table.images))]
    require_distinct_ids(names, path.name)
    return NewImages(tuple(names), table.images, np.full(table.images.shape[:3], 255, np.uint8))


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
