"""A competition whose images are files: tables or folders and files in, checked arrays out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from kaggle_digits.core.data.decoding import (
    Decoded,
    UndecodableError,
    as_colour,
    as_grey,
    decode,
    fitted,
)
from kaggle_digits.core.data.image_rows import (
    Index,
    Labelled,
    image_column,
    in_order,
    labelled_by_folder,
    labelled_by_table,
    read_label_table,
    tables_of,
    without_extension,
)
from kaggle_digits.core.data.image_source import UNREADABLE, ImageFiles, ImageSource
from kaggle_digits.core.data.labels import in_sample_form, is_writable
from kaggle_digits.core.data.reading import Parsed, fold_arrays
from kaggle_digits.core.data.sample import Sample, read_sample, with_classes
from kaggle_digits.core.hardware import available_threads
from kaggle_digits.ground.competition import (
    Competition,
    SubmissionFormat,
    require_distinct_ids,
    sort_classes,
)
from kaggle_digits.ground.errors import ConfigurationError, DataError, shorten
from kaggle_digits.ground.filenames import is_image
from kaggle_digits.ground.shapes import COLOUR, ImageShape
from kaggle_digits.ground.wanted import Wanted

Room = Callable[[tuple[int, ...]], np.ndarray]
"""Returns an array of bytes of a shape, zeros."""

LARGEST = 128
"""Pixels of the longer side that images are scaled down to where no size is asked for."""

_LOOKED_AT = 400
_AT_A_TIME = 64
_SHOWN = 10


def in_memory(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of zeros in memory."""
    return np.zeros(shape, np.uint8)


def read_image_competition(
    source: ImageSource, say: Callable[[str], None], wanted: Wanted, room: Room = in_memory
) -> Parsed:
    """Read and check a competition whose images are files.

    Args:
        source: Where they lie.
        say: Gets a line before each long step, and what was chosen or left out on the way.
        wanted: The size, and what becomes of broken files.
        room: Where the images go.

    Raises:
        DataError: Something in the files is not as it must be.
        ConfigurationError: A shape was asked for, which is for pixels in columns.
    """
    if wanted.shape is not None:
        raise ConfigurationError(
            f"--image-shape was given as {wanted.shape}, but the images of {source.path} are "
            "files, which have shapes of their own.",
            mend=f"To scale them, give --image-size {wanted.shape.height}x{wanted.shape.width}.",
        )
    with source.open() as files:
        tables = tables_of(files)
        sample: Sample | None = None
        if name := tables.get("sample"):
            sample = read_sample(files.table(name), PurePosixPath(name).name)
        train = _train(files, tables.get("train"), sample, wanted)
        form, ids, test = _test(files, tables.get("test"), sample, train)
        for line in train.remarks:
            say(line)
        shape, remark = _choose_shape(files, [*train.images, *test], wanted)
        say(f"decoding {len(train.images):,} training and {len(test):,} test images")
        while True:
            images, bad, scaled = _decode_all(files, train.images, shape, room)
            tested, bad_test, test_scaled = _decode_all(files, test, shape, room)
            if images is not None and tested is not None:
                break
            # Colour among images whose first ones looked grey.
            shape = replace(shape, planes=COLOUR)
    labels, label_remark = in_sample_form(train.labels, sample.labels if sample else ())
    kept = _without_broken(train, ids, bad, bad_test, wanted, say)
    others = train.kept
    if kept is not None:
        images, labels = images[kept], [labels[row] for row in kept.tolist()]
        others = tuple([column[row] for row in kept.tolist()] for column in others)
    _require_writable(labels, train)
    classes = sort_classes(labels)
    if len(classes) < 2:
        raise DataError(
            f"{train.table} has one class only, {classes[0]!r}; expected two or more.",
            mend="Check that the column is the label.",
        )
    form_remark = None
    if sample is not None and sample.columns:
        form, form_remark = with_classes(sample, classes, PurePosixPath(tables["sample"]).name)
    for told in (remark if scaled or test_scaled else None, label_remark, form_remark):
        if told:
            say(told)
    place = {label: position for position, label in enumerate(classes)}
    return Parsed(
        competition=Competition(
            shape.height, shape.width, classes, form, shape.planes, fitted=scaled or test_scaled
        ),
        images=images,
        labels=np.array([place[label] for label in labels], np.int64),
        test_images=tested,
        test_ids=ids,
        **fold_arrays(wanted, others),
    )


def _train(files: ImageFiles, table: str | None, sample: Sample | None, wanted: Wanted) -> Labelled:
    index = Index(files.images, "train")
    hint = sample.form.label_column if sample else None
    if table is None and wanted.columns:
        raise ConfigurationError(
            f"The column {wanted.columns[0]!r} was asked for, but there is no table of labels.",
            mend="Leave it out, or give train.csv with it.",
        )
    if table is None:
        return labelled_by_folder(index, sample.form.id_column if sample else "id")
    found = labelled_by_table(read_label_table(files, table), index, hint, wanted.columns)
    require_distinct_ids(found.ids, found.table)
    return found


def _test(
    files: ImageFiles, table: str | None, sample: Sample | None, train: Labelled
) -> tuple[SubmissionFormat, tuple[str, ...], list[str | None]]:
    """Return the submission's form, the test ids, and the image file of each."""
    index = Index(files.images, "test")
    if sample is not None:
        return sample.form, sample.ids, [index.find(key) for key in sample.ids]
    form = SubmissionFormat(train.id_column, train.label_column, newline="\n")
    if table is not None:
        found = read_label_table(files, table)
        column = image_column(found, index)
        ids = found.columns[column]
        require_distinct_ids(ids, found.name)
        form = replace(form, id_column=column)
        return form, tuple(ids), [index.find(key) for key in ids]
    names = in_order(index)
    if not names:
        raise DataError(
            "There are no test images: no folder or zip whose name has test in it, no test.csv and "
            "no sample_submission.csv.",
            mend="Put the images to label into a folder test/ beside the training images.",
        )
    with_ends = any(is_image(key) for key in train.ids)
    ids = [PurePosixPath(name).name if with_ends else without_extension(name) for name in names]
    require_distinct_ids(ids, "the list of test images")
    return form, tuple(ids), list(names)


@dataclass(frozen=True, slots=True)
class _Broken:
    """An image that cannot be used: its row, and why."""

    row: int
    reason: str


def _choose_shape(
    files: ImageFiles, names: Sequence[str | None], wanted: Wanted
) -> tuple[ImageShape, str | None]:
    """Return the shape that the images get, and what is to be said of those that are scaled."""
    there = [name for name in names if name is not None]
    step = max(1, -(-len(there) // _LOOKED_AT))
    with ThreadPoolExecutor(available_threads()) as threads:
        found = [one for one in threads.map(_try(files), there[::step]) if isinstance(one, Decoded)]
    if not found:
        raise DataError(
            f"None of the images can be read, {shorten(there, 3) or 'there is none'}.",
            mend="Check that the files are whole, and of a usual kind such as PNG or JPEG.",
        )
    planes = 1 if all(one.is_grey for one in found) else COLOUR
    sizes = [one.pixels.shape[:2] for one in found]
    if wanted.size is not None:
        height, width = wanted.size
    elif len(set(sizes)) == 1:
        height, width = sizes[0]
        if max(height, width) > LARGEST:
            scale = LARGEST / max(height, width)
            height, width = (max(1, round(side * scale)) for side in (height, width))
    else:
        height = width = min(LARGEST, round(statistics.median(map(max, sizes))))
    least, most = (which(map(max, sizes)) for which in (min, max))
    sides = f"{least}" if least == most else f"{least} to {most}"
    remark = (
        f"images whose longer side has {sides} pixels are scaled to {height}×{width}, what is left "
        "around them black"
    )
    if wanted.size is None:
        remark += "; --image-size gives another size"
    return ImageShape(height, width, planes), remark


def _try(files: ImageFiles) -> Callable[[str], Decoded | str]:
    def read(name: str) -> Decoded | str:
        try:
            return decode(files.read(name))
        except UndecodableError as error:
            return str(error)
        except UNREADABLE:
            return "cannot be read"

    return read


def _decode_all(
    files: ImageFiles, names: Sequence[str | None], shape: ImageShape, room: Room
) -> tuple[np.ndarray | None, list[_Broken], bool]:
    """Decode images on all cores.

    Returns:
        The images, None where grey was expected and there is colour; those that are broken; and
        whether any was scaled.
    """
    made = room((len(names), *shape.sides))
    read = _try(files)
    size = shape.height, shape.width

    def some(start: int) -> tuple[list[_Broken], bool, bool]:
        broken, scaled = [], False
        # Theirs alone until all are there: pages of a file come in while no other thread waits.
        block = np.zeros((min(_AT_A_TIME, len(names) - start), *shape.sides), np.uint8)
        for place, name in enumerate(names[start : start + _AT_A_TIME]):
            found = "is not there" if name is None else read(name)
            if isinstance(found, str):
                broken.append(_Broken(start + place, found))
                continue
            if shape.planes == 1 and not found.is_grey:
                return broken, scaled, True
            pixels = found.on_black()
            pixels = as_grey(pixels) if shape.planes == 1 else as_colour(pixels)
            if pixels.shape[:2] != size:
                scaled = True
                pixels = fitted(pixels, *size)
            block[place] = pixels
        made[start : start + len(block)] = block
        return broken, scaled, False

    broken, is_scaled, has_colour = [], False, False
    with ThreadPoolExecutor(available_threads()) as threads:
        for bad, scaled, colour in threads.map(some, range(0, len(names), _AT_A_TIME)):
            broken += bad
            is_scaled, has_colour = is_scaled or scaled, has_colour or colour
    return None if has_colour else made, broken, is_scaled


def _without_broken(
    train: Labelled,
    test_ids: Sequence[str],
    bad: Sequence[_Broken],
    bad_test: Sequence[_Broken],
    wanted: Wanted,
    say: Callable[[str], None],
) -> np.ndarray | None:
    """Return the training rows that are kept, None for all of them.

    Raises:
        DataError: Some are broken, and nobody said that they are to be left out.
    """
    if not bad and not bad_test:
        return None
    both = [
        *(f"{train.ids[one.row]} {one.reason}" for one in bad),
        *(f"{test_ids[one.row]} (test) {one.reason}" for one in bad_test),
    ]
    shown = shorten(both, _SHOWN)
    total = len(train.ids) + len(test_ids)
    if not wanted.skip_broken:
        raise DataError(
            f"{len(both):,} of {total:,} images cannot be used: {shown}.",
            mend="Put them there, or give --skip-broken to go on without them.",
        )
    left = len(train.ids) - len(bad)
    if not left or len(bad_test) == len(test_ids):
        raise DataError(f"No image can be used: {shown}.", mend="Check that the files are whole.")
    if bad:
        say(f"left out {len(bad):,} of {len(train.ids):,} training images: {shown}")
    if bad_test:
        say(
            f"{len(bad_test):,} of {len(test_ids):,} test images are broken or missing; a black "
            "image stands in for each"
        )
    gone = {one.row for one in bad}
    return np.array([row for row in range(len(train.ids)) if row not in gone], np.int64)


def _require_writable(labels: Sequence[str], train: Labelled) -> None:
    bad = next((label for label in labels if not is_writable(label)), None)
    if bad is not None:
        raise DataError(
            f"{train.table} has the label {bad!r}, which cannot stand in a submission: it holds a "
            "line break or another control character.",
            mend="Write the label without it.",
        )
