"""What a table's columns are for, read off the headers: pixels, label, id."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO

from kaggle_digits.core.data.pixels import (
    PixelGrid,
    find_grid,
    looks_planar,
    other_shapes,
    require_same_pixels,
    shape_of,
)
from kaggle_digits.ground.competition import is_whole_number
from kaggle_digits.ground.errors import ConfigurationError, DataError, did_you_mean, shorten
from kaggle_digits.ground.shapes import ImageShape

LABEL_NAMES = frozenset({"label", "labels", "class", "target", "digit", "letter"})
_ID_NAMES = frozenset({"id", "ids", "index", "key", "name", "file", "filename", "image"})
_SEPARATORS = (",", ";", "\t", "|")
_LOOKED_AT = 20
"""Lines that are looked at to tell how a table's images are written."""

_LEAST_PACKED = 4
"""Numbers in a field from which on it is an image, not a remark."""


@dataclass(frozen=True, slots=True)
class Header:
    """How a table begins.

    Args:
        columns: The columns' names.
        separator: What stands between fields.
        rows: The fields of the first lines after the header; none where there is no such line.
    """

    columns: tuple[str, ...]
    separator: str
    rows: tuple[tuple[str, ...], ...]

    @property
    def first(self) -> tuple[str, ...]:
        """The fields of the first line after the header; none where there is no such line."""
        return self.rows[0] if self.rows else ()


@dataclass(frozen=True, slots=True)
class Layout:
    """What each column of one file is for.

    Args:
        columns: The header.
        pixels: Positions of the pixel columns, row by row of the image, the three of a pixel in
            colour beside one another.
        shape: Of the images; of packed ones, with the order of their planes.
        label: Position of the label column, where there is one.
        id: Position of the id column, where there is one.
        separator: What stands between fields.
        packed: Whether all pixels of an image stand in one column, with blanks between them.
        kept: Positions of other columns that are read, too.
    """

    columns: tuple[str, ...]
    pixels: tuple[int, ...]
    shape: ImageShape
    label: int | None
    id: int | None
    separator: str = ","
    packed: bool = False
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What the columns of train and test are for.

    Args:
        train: Of the labelled images; it has a label column.
        test: Of the images to label; it has none.
        is_named_id: Whether test's id column is known to be one by its name.
        remarks: What a user should know: columns left out, the shape that was chosen.
    """

    train: Layout
    test: Layout
    is_named_id: bool
    remarks: tuple[str, ...]


def text_of(stream: IO[bytes]) -> io.TextIOWrapper:
    """Return a byte stream as text for the csv module; bytes that are not UTF-8 stay visible.

    To be used as a context manager; it closes the stream.
    """
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def read_header(stream: IO[bytes], name: str) -> Header:
    """Read a table's header.

    Args:
        stream: The file from its start.
        name: How messages name the file.

    Raises:
        DataError: The file is empty or not text, or column names are doubled or empty.
    """
    try:
        with text_of(stream) as text:
            separator, rows = _split(text)
            header = tuple(field.strip() for field in next(rows, ()))
            first = _first(rows)
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
            f"{name} has doubled columns: {shorten(doubled, 3)}; expected each name once.",
            mend="Remove or rename the second one.",
        )
    return Header(header, separator, first)


def separator_of(line: str) -> str:
    """Return what stands between a header line's fields: what makes most of them, else commas."""
    counts = {mark: _count_fields(line, mark) for mark in _SEPARATORS}
    most = max(counts.values())
    if most > 1:
        return next(mark for mark in _SEPARATORS if counts[mark] == most)
    # Names may hold blanks, so these are looked at last.
    return " " if _count_fields(line.strip(), " ") > 1 else ","


def arrange(
    train: Header,
    test: Header,
    *,
    train_name: str,
    test_name: str,
    sample: tuple[str, str] | None,
    shape: ImageShape | None,
    keep: Sequence[str] = (),
) -> Arrangement:
    """Say what the columns of train and test are for.

    Args:
        train: Header of the labelled images.
        test: Header of the images to label.
        train_name: How messages name the first file.
        test_name: How messages name the second file.
        sample: The sample submission's columns, id and label, where there is one.
        shape: Of the images, where the user gives it.
        keep: Columns of train that are to be read as they are.

    Returns:
        The layouts, with pixels in the same image order. Columns that are none of pixels, label
        and id are left out, and so is test's label.

    Raises:
        DataError: Pixel columns are missing, doubled or no rectangle, the files' pixels differ,
            or label or id cannot be told.
        ConfigurationError: The images are not of the shape that was asked for.
    """
    packed = packed_column(train)
    if packed is not None:
        grid = _packed_grid(train, test, packed, train_name, test_name, shape)
    else:
        grid = find_grid(train.columns, train_name, shape)
        require_same_pixels(grid, test.columns, train_name, test_name)
    grid, order_remark = _with_order(grid, train)
    pixels = frozenset(grid.names)
    for name in keep:
        require_column(name, train.columns, train_name)
    train_extra = [name for name in train.columns if name not in pixels and name not in keep]
    test_extra = [name for name in test.columns if name not in pixels]
    hint = sample[1].casefold() if sample else None
    label = _find_label(train_extra, test_extra, hint, train_name, test_name)
    candidates = [name for name in test_extra if name != label]
    known = _ID_NAMES | ({sample[0].casefold()} if sample else set())
    ids = _find_id(candidates, train_extra, known, test_name)
    remarks = []
    if label in test_extra:
        remarks.append(
            f"{test_name} has the label column {label!r} too; its labels are left out (to score a "
            "submission by them, give the file to check as --truth)"
        )
    for name, extra in ((train_name, train_extra), (test_name, test_extra)):
        unused = [column for column in extra if column not in (label, ids)]
        if unused:
            remarks.append(f"{name}: left out what is no pixel, label or id: {shorten(unused)}")
    found = grid.shape
    others = other_shapes(found.height, found.width)
    if order_remark is not None:
        remarks.append(order_remark)
    elif shape is None and not grid.named and others:
        remarks.append(
            f"{found.height * found.width} pixels are read as {found.height}×{found.width}, height "
            f"× width; --image-shape gives another shape, such as {others[0]}"
            f"{'x3' * (found.planes > 1)}"
        )
    layout = _layout(train, grid, label, ids if ids in train_extra else None, packed)
    return Arrangement(
        train=replace(layout, kept=tuple(train.columns.index(name) for name in keep)),
        test=_layout(test, grid, None, ids, packed),
        is_named_id=ids is not None and _is_id_name(ids, known),
        remarks=tuple(remarks),
    )


def require_column(name: str, columns: Sequence[str], file: str) -> None:
    """Refuse a column that is not there.

    Raises:
        ConfigurationError: The nearest name is in its mend.
    """
    if name not in columns:
        raise ConfigurationError(
            f"The column {name!r} was asked for, which {file} has not.",
            mend=did_you_mean(name, columns[:_LOOKED_AT]),
        )


def is_text(field: str) -> bool:
    """Say whether a field read through `text_of` was UTF-8 text."""
    return not any(letter == "\0" or "\udc80" <= letter <= "\udcff" for letter in field)


def arrange_one(
    header: Header, name: str, shape: ImageShape | None, label_hint: str
) -> tuple[Layout, tuple[str, ...]]:
    """Say what the columns of one more table of images are for, such as one to be predicted.

    Args:
        header: Its header.
        name: How messages name the file.
        shape: That its images must have; None for a square one.
        label_hint: The competition's label column.

    Returns:
        The layout without a label, and remarks on columns that are left out.

    Raises:
        DataError: Pixel columns are missing or doubled, or several columns could be the id.
        ConfigurationError: The images have another number of pixels.
    """
    grid = packed_grid(header, name, shape)
    packed = grid.names[0] if grid is not None else None
    if grid is None:
        grid = find_grid(header.columns, name, shape)
    if shape is None:
        grid, _ = _with_order(grid, header)
    pixels = frozenset(grid.names)
    hints = LABEL_NAMES | {label_hint.casefold()}
    others = [column for column in header.columns if column not in pixels]
    labels = [column for column in others if column.casefold() in hints]
    ids = _find_id([column for column in others if column not in labels], (), _ID_NAMES, name)
    unused = [column for column in others if column != ids]
    remarks = (f"{name}: left out what is no pixel or id: {shorten(unused)}",) if unused else ()
    return _layout(header, grid, None, ids, packed), remarks


def packed_grid(header: Header, name: str, shape: ImageShape | None) -> PixelGrid | None:
    """Return the one column that holds all pixels of an image; none where there is no such column.

    Raises:
        DataError: The pixels make no square.
        ConfigurationError: They are not of the shape that was asked for.
    """
    column = packed_column(header)
    if column is None:
        return None
    count = len(header.first[header.columns.index(column)].split())
    found = shape_of(count, shape, f"column {column!r} of {name}")
    is_guessed = shape is None and found.planes > 1
    return PixelGrid(((column,),), (column,), found, named=False, guessed=is_guessed)


def _split(text: io.TextIOWrapper) -> tuple[str, Iterator[list[str]]]:
    """Return a table's separator and its lines that are not blank."""
    seen: list[str] = []

    def kept() -> Iterator[str]:
        for line in text:
            seen.append(line)
            yield line

    # A field in quotation marks may run over several lines, which the csv module knows.
    with suppress(csv.Error):  # too long a field, where the separator is no comma
        for row in csv.reader(kept()):
            if "".join(row).strip():
                break
    header = "".join(seen)
    separator = separator_of(header)
    rows = csv.reader(io.StringIO(header, newline=""), delimiter=separator)
    rest = csv.reader(text, delimiter=separator)
    lines = (row for part in (rows, rest) for row in part)
    return separator, (row for row in lines if "".join(row).strip())


def _first(rows: Iterator[list[str]]) -> tuple[tuple[str, ...], ...]:
    found: list[tuple[str, ...]] = []
    # What is wrong here is said by the table's own reader, with the number of its line.
    with suppress(csv.Error):
        for row in islice(rows, _LOOKED_AT):
            found.append(tuple(field.strip() for field in row))
    return tuple(found)


def _count_fields(line: str, separator: str) -> int:
    try:
        rows = csv.reader(io.StringIO(line, newline=""), delimiter=separator)
        return len(next((row for row in rows if "".join(row).strip()), ()))
    except csv.Error:
        return 0


def packed_column(header: Header) -> str | None:
    """Return the one column whose fields seem to hold an image each; None where there is none."""
    if len(header.first) != len(header.columns):
        return None
    found = [
        name
        for name, field in zip(header.columns, header.first, strict=True)
        if len(parts := field.split()) >= _LEAST_PACKED and all(map(_is_number, parts))
    ]
    return found[0] if len(found) == 1 else None


def _packed_grid(
    train: Header,
    test: Header,
    column: str,
    train_name: str,
    test_name: str,
    shape: ImageShape | None,
) -> PixelGrid:
    grid = packed_grid(train, train_name, shape)
    other = packed_grid(test, test_name, shape) if test.first else grid
    assert grid is not None
    if other is None or other.names != grid.names:
        raise DataError(
            f"{train_name} has its pixels in the column {column!r}; {test_name} has none of that "
            "name and form.",
            mend="Check that both files are from the same competition.",
        )
    if other.shape != grid.shape:
        raise DataError(
            f"{train_name} has images of {_size(grid.shape)} pixels, {test_name} of "
            f"{_size(other.shape)}; expected one size.",
            mend="Check that both files are from the same competition.",
        )
    return grid


def _with_order(grid: PixelGrid, header: Header) -> tuple[PixelGrid, str | None]:
    """Return a grid whose planes are in the order that its first images speak for, and a remark.

    In the right order, neighbouring pixels differ less.
    """
    if not grid.guessed:
        return grid, None
    place = {name: position for position, name in enumerate(header.columns)}
    columns = [place[name] for name in grid.names]
    values = []
    for row in header.rows:
        with suppress(ValueError, IndexError):
            packed = len(columns) == 1
            fields = row[columns[0]].split() if packed else [row[column] for column in columns]
            image = [float(field) for field in fields]
            if len(image) == grid.shape.count:
                values.append(image)
    grey = ImageShape(grid.shape.height, grid.shape.width)
    is_planar = looks_planar(values, grey)
    shape = replace(grid.shape, planar=is_planar)
    other = replace(shape, planar=not is_planar)
    words = ("the three of a pixel beside one another", "one plane after another")
    return replace(grid, shape=shape, guessed=False), (
        f"{shape.count} numbers are read as {_size(grey)} pixels of red, green and blue, "
        f"{words[is_planar]}, as the first images look smoother so; --image-shape {other} reads "
        f"them as {words[not is_planar]}"
    )


def _size(shape: ImageShape) -> str:
    return f"{shape.height}×{shape.width}{' × 3' * (shape.planes > 1)}"


def _find_label(
    train: Sequence[str],
    test: Sequence[str],
    hint: str | None,
    train_name: str,
    test_name: str,
) -> str:
    """Return train's label column: the one named so, else the only one that test has not."""
    own = [name for name in train if name not in test]
    for group in (own, train):
        for names in ({hint}, LABEL_NAMES):
            named = [name for name in group if name.casefold() in names]
            if len(named) == 1:
                return named[0]
    if len(own) != 1:
        raise DataError(
            f"{train_name} has {_count(own, 'label column')} beside the pixels; expected one, and "
            f"at most an id column that {test_name} has too.",
            mend="Name the label column label.",
        )
    return own[0]


def _find_id(
    candidates: Sequence[str], train: Sequence[str], known: frozenset[str], test_name: str
) -> str | None:
    """Return test's id column: the one named so, else the only one there is."""
    named = [name for name in candidates if _is_id_name(name, known)]
    shared = [name for name in named if name in train]
    if len(named) > 1 and len(shared) != 1:
        raise DataError(
            f"{test_name} has {_count(named, 'column')} beside the pixels that could be the id; "
            "expected one.",
            mend="Remove the others.",
        )
    if named:
        return named[0] if len(named) == 1 else shared[0]
    return candidates[0] if len(candidates) == 1 else None


def _is_id_name(name: str, known: frozenset[str]) -> bool:
    folded = name.casefold()
    return folded in known or folded.endswith(("_id", " id", "-id")) or name.endswith(("Id", "ID"))


def _is_number(text: str) -> bool:
    """Say whether a pixel could be meant; `nan` too, which is named by its line later."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count(names: Sequence[str], noun: str) -> str:
    if not names:
        return f"no {noun}"
    return f"{len(names)} {noun}s ({shorten(names, 3)})"


def _layout(
    header: Header, grid: PixelGrid, label: str | None, ids: str | None, packed: str | None
) -> Layout:
    place = {name: position for position, name in enumerate(header.columns)}
    names = grid.names if packed is not None else grid.in_image_order()
    return Layout(
        columns=header.columns,
        pixels=tuple(place[name] for name in names),
        shape=grid.shape,
        label=None if label is None else place[label],
        id=None if ids is None else place[ids],
        separator=header.separator,
        packed=packed is not None,
    )
