"""What a table's columns are for, read off the headers: pixels, label, id."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from kaggle_digits.core.data.pixels import PixelGrid, find_grid, require_same_pixels, shorten
from kaggle_digits.ground.competition import is_whole_number
from kaggle_digits.ground.errors import DataError

_LABEL_NAMES = frozenset({"label", "labels", "class", "target", "digit", "letter"})


@dataclass(frozen=True, slots=True)
class Layout:
    """What each column of one file is for.

    Args:
        columns: The header.
        pixels: Positions of the pixel columns, row by row of the image, height × width of them.
        height: Image height in pixels.
        width: Image width in pixels.
        label: Position of the label column, where there is one.
        id: Position of the id column, where there is one.
    """

    columns: tuple[str, ...]
    pixels: tuple[int, ...]
    height: int
    width: int
    label: int | None
    id: int | None


def text_of(stream: IO[bytes]) -> io.TextIOWrapper:
    """Return a byte stream as text for the csv module; bytes that are not UTF-8 stay visible.

    To be used as a context manager; it closes the stream.
    """
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def read_header(stream: IO[bytes], name: str) -> tuple[str, ...]:
    """Read a table's header.

    Args:
        stream: The file from its start.
        name: How messages name the file.

    Raises:
        DataError: The file is empty or not text, or column names are doubled or empty.
    """
    try:
        with text_of(stream) as text:
            rows = (row for row in csv.reader(text) if "".join(row).strip())
            header = tuple(field.strip() for field in next(rows, ()))
    except csv.Error as error:
        raise DataError(f"{name} has no readable header: {error}.") from error
    if not header:
        raise DataError(
            f"{name} is empty; expected a header and one line for each image.",
            mend="Download it again.",
        )
    if not all(is_text(field) for field in header):
        raise DataError(
            f"{name} is not UTF-8 text: its header cannot be read.", mend="Save it as UTF-8 CSV."
        )
    doubled = [field for field, count in Counter(header).items() if count > 1]
    if doubled and all(is_whole_number(field) for field in header):
        raise DataError(
            f"{name} has no header: line 1 is numbers, {', '.join(header[:4])}, …",
            mend="Put the column names into the first line, such as label,pixel0,pixel1.",
        )
    if "" in header:
        raise DataError(
            f"{name} has a column without a name, number {header.index('') + 1} of {len(header)}.",
            mend="Remove the column, or the comma too many.",
        )
    if doubled:
        raise DataError(
            f"{name} has doubled columns: {shorten(doubled)}; expected each name once.",
            mend="Remove or rename the second one.",
        )
    return header


def arrange(
    train: tuple[str, ...],
    test: tuple[str, ...],
    *,
    train_name: str,
    test_name: str,
    label_hint: str | None,
) -> tuple[Layout, Layout]:
    """Say what the columns of train and test are for.

    Args:
        train: Header of the labelled images.
        test: Header of the images to label.
        train_name: How messages name the first file.
        test_name: How messages name the second file.
        label_hint: The sample submission's label column, where there is one.

    Returns:
        The layouts of train and of test, with pixels in the same image order.

    Raises:
        DataError: Pixel columns are missing, doubled or no rectangle, the files' pixels differ,
            or label and id are not one column each.
    """
    grid = find_grid(train, train_name)
    require_same_pixels(grid, test, train_name, test_name)
    pixels = frozenset(grid.names)
    train_extra = [name for name in train if name not in pixels]
    test_extra = [name for name in test if name not in pixels]
    hints = _LABEL_NAMES | ({label_hint.casefold()} if label_hint else set())
    shared = [name for name in train_extra if name in test_extra]
    labels = [name for name in train_extra if name not in test_extra]
    beside = "beside the pixels"
    for name in shared:
        if name.casefold() in hints and not labels:
            raise DataError(
                f"{test_name} has the label column {name!r} too; expected pixel columns and at "
                "most one id column.",
                mend=f"Remove the column, or check that {test_name} is the right file.",
            )
    if len(labels) != 1:
        raise DataError(
            f"{train_name} has {_count(labels, 'label column')} {beside}; expected one, and at "
            f"most an id column that {test_name} has too.",
            mend="Name the label column label, and remove columns that are neither label nor id.",
        )
    if len(test_extra) > 1:
        raise DataError(
            f"{test_name} has {_count(test_extra, 'column')} {beside}; expected at most one, the "
            "id.",
            mend="Remove the others.",
        )
    ids = test_extra[0] if test_extra else None
    return (
        _layout(train, grid, labels[0], ids if ids in train_extra else None),
        _layout(test, grid, None, ids),
    )


def is_text(field: str) -> bool:
    """Say whether a field read through `text_of` was UTF-8 text."""
    return not any(letter == "\0" or "\udc80" <= letter <= "\udcff" for letter in field)


def _count(names: Sequence[str], noun: str) -> str:
    if not names:
        return f"no {noun}"
    return f"{len(names)} {noun}s ({shorten(names)})"


def _layout(header: tuple[str, ...], grid: PixelGrid, label: str | None, ids: str | None) -> Layout:
    place = {name: position for position, name in enumerate(header)}
    return Layout(
        columns=header,
        pixels=tuple(place[name] for name in grid.names),
        height=grid.height,
        width=grid.width,
        label=None if label is None else place[label],
        id=None if ids is None else place[ids],
    )
