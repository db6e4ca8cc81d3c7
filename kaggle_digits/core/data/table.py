"""One table of images: CSV bytes to arrays, fast where all is well, line by line where not."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np

from kaggle_digits.core.data.columns import Layout, is_text, text_of
from kaggle_digits.core.data.labels import is_missing
from kaggle_digits.core.data.source import Source
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.filenames import Role

Scale = Literal["whole", "unit", "binary"]
"""How pixels are written: 0 to 255, 0.0 to 1.0 in steps of 1/255, or 0 and 1 alone."""

_CHUNK = 5000
_VALUES = frozenset(str(value) for value in range(256))
_NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,3})?", re.ASCII | re.IGNORECASE
)
_ROUNDED = 0.02
"""What a multiple of 1/255 written with four digits can be off by, in steps of 1/255."""

_NO_VALUE = frozenset({"", "nan", "na", "n/a", "null", "none"})


@dataclass(frozen=True, slots=True, eq=False)
class ImageTable:
    """One file's content.

    Args:
        images: uint8 [rows, height, width], in colour [rows, height, width, 3]; of the scale
            `unit` multiplied by 255, exactly.
        scale: How its pixels are written.
        floats: Whether they are written as floats.
        labels: The label of each row as it stands in the file, blanks around it removed; none
            where the file has no label column.
        ids: The id of each row as it stands in the file; none where it has no id column.
        kept: The layout's other columns.
    """

    images: np.ndarray
    scale: Scale
    floats: bool
    labels: list[str] | None
    ids: list[str] | None
    kept: tuple[list[str], ...] = ()


class _Unfit(ValueError):
    """The fast way met something that is not 0 to 255 everywhere."""


def read_table(source: Source, role: Role, layout: Layout) -> ImageTable:
    """Read and check one table.

    Args:
        source: Where it lies.
        role: Which one.
        layout: What its columns are for.

    Raises:
        DataError: The first offending line is named: wrong length, missing label, a pixel that
            is empty, not a number of the file's scale or out of range; or there is no line at all.
    """
    try:
        with source.open(role) as stream:
            table = _read_fast(stream, layout)
    # Whatever the parser trips over, the line-by-line way says it better.
    except (ValueError, OverflowError) as error:
        source.verify(role)
        with source.open(role) as stream:
            is_unit = _is_unit(stream, source.name(role), layout)
        with source.open(role) as stream:
            _raise_first_fault(stream, source.name(role), layout, is_unit)
        raise DataError(f"{source.name(role)} cannot be read: {error}.") from error
    if not len(table.images):
        raise DataError(
            f"{source.name(role)} is empty: it has a header but no images.",
            mend="Download it again.",
        )
    return table


def line_of(source: Source, role: Role, row: int, separator: str) -> int:
    """Return the line in which a row stands (rows count from 0, lines from 1)."""
    with source.open(role) as stream:
        lines = _walk(stream, source.name(role), separator)
        next(lines)
        return next(line for position, (line, _) in enumerate(lines) if position == row)


def _read_fast(stream: IO[bytes], layout: Layout) -> ImageTable:
    import pandas

    count = len(layout.columns)
    texts = [position for position in (layout.label, layout.id) if position is not None]
    texts += layout.kept
    if layout.packed:
        texts += layout.pixels
    # What is left out is not looked at: whatever it holds is no reason to refuse the file.
    unused = sorted(set(range(count)).difference(texts, layout.pixels))
    gathered = _Gathered(layout.shape.sides)
    columns: dict[int, list[str]] = {position: [] for position in texts}
    # Names by position: the header's own are checked already, and pandas would rename some.
    # Without a filter for "not available", such values make a column text, which is refused.
    chunks: Any = pandas.read_csv(
        stream,
        sep=layout.separator,
        header=0,
        names=list(range(count)),
        dtype={position: str for position in [*texts, *unused]},
        na_filter=False,
        low_memory=False,
        chunksize=_CHUNK,
        encoding="utf-8",
    )
    with chunks:
        for chunk in chunks:
            # Where the first line is too long, pandas takes its first fields for row names.
            if not isinstance(chunk.index, pandas.RangeIndex) or chunk.shape[1] != count:
                raise _Unfit("a line is longer than the header")
            if chunk.empty:
                continue
            if layout.packed:
                gathered.add(_unpacked(chunk[layout.pixels[0]].tolist(), layout))
            else:
                gathered.add(chunk.iloc[:, list(layout.pixels)].to_numpy())
            for position in texts:
                columns[position].extend(chunk[position].tolist())
    labels = None
    if layout.label is not None:
        labels = [label.strip() for label in columns[layout.label]]
        if any(map(is_missing, labels)):
            raise _Unfit("a label is missing")
    return ImageTable(
        images=gathered.images(),
        scale=gathered.scale,
        floats=gathered.floats,
        labels=labels,
        ids=None if layout.id is None else columns[layout.id],
        kept=tuple(columns[position] for position in layout.kept),
    )


class _Gathered:
    """The pixels read so far, and what is known of how they are written."""

    def __init__(self, sides: tuple[int, ...]) -> None:
        self._sides = sides
        self._parts: list[np.ndarray] = [np.empty((0, *sides), np.uint8)]
        self._scales: list[Scale] = ["binary"]
        self.floats = False

    def add(self, values: np.ndarray) -> None:
        """Take [rows, pixels] of numbers.

        Raises:
            _Unfit: They are of neither scale.
        """
        scale: Scale
        if values.dtype.kind not in "if" or values.min() < 0 or not (most := values.max()) <= 255:
            raise _Unfit("a pixel is not a whole number from 0 to 255")
        if values.dtype.kind == "f" and not (np.rint(values) == values).all():
            if most > 1:
                raise _Unfit("a pixel is not a whole number")
            steps = values * 255
            values = np.rint(steps)
            if np.abs(steps - values).max() > _ROUNDED:
                raise _Unfit("a pixel is not a multiple of 1/255")
            scale = "unit"
            self.floats = True
        else:
            scale = "whole" if most > 1 else "binary"
            self.floats = self.floats or values.dtype.kind == "f"
        self._scales.append(scale)
        self._parts.append(values.astype(np.uint8).reshape(len(values), *self._sides))

    @property
    def scale(self) -> Scale:
        """How all of them are written.

        Raises:
            _Unfit: Some are 0 to 1 and others 0 to 255.
        """
        found = set(self._scales) - {"binary"}
        if len(found) > 1:
            raise _Unfit("some pixels are 0 to 1, others 0 to 255")
        return found.pop() if found else "binary"

    def images(self) -> np.ndarray:
        """Return uint8 [rows, height, width], in colour [rows, height, width, 3]."""
        if self.scale == "unit":
            for part, scale in zip(self._parts, self._scales, strict=True):
                if scale == "binary":
                    part *= 255
        return np.concatenate(self._parts)


def _unpacked(fields: list[str], layout: Layout) -> np.ndarray:
    """Return float64 [rows, pixels] of fields that hold an image each."""
    parts = [field.split() for field in fields]
    shape = layout.shape
    if any(len(part) != shape.count for part in parts):
        raise _Unfit("an image has another number of pixels")
    # A word that is no number, or `nan`, is found by the line-by-line way.
    values = np.array([[float(word) for word in part] for part in parts])
    if shape.planar:
        planes = values.reshape(len(values), shape.planes, shape.height * shape.width)
        values = planes.swapaxes(1, 2).reshape(len(values), -1)
    whole: np.ndarray = values.astype(np.int64) if (values == np.rint(values)).all() else values
    # Written as floats only if a point says so.
    return values if any("." in field for field in fields) else whole


def _walk(stream: IO[bytes], name: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each line that is not blank with its number, the header first."""
    line = 1
    try:
        with text_of(stream) as text:
            reader = csv.reader(text, delimiter=separator)
            for row in reader:
                if len(row) > 1 or "".join(row).strip():
                    yield line, row
                line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name} line {line} cannot be read: {error}.",
            mend='Look for a quotation mark (") that is not closed.',
        ) from error


def _is_unit(stream: IO[bytes], name: str, layout: Layout) -> bool:
    """Say whether pixels are meant as 0 to 1: some are fractions, and none is above 1."""
    fractions = False
    lines = _walk(stream, name, layout.separator)
    next(lines)
    for _, row in lines:
        if len(row) != len(layout.columns):
            continue
        for text in _pixels_of(row, layout):
            if _NUMBER.fullmatch(text.strip()):
                value = float(text)
                if value > 1:
                    return False
                fractions = fractions or value not in (0, 1)
    return fractions


def _pixels_of(row: list[str], layout: Layout) -> list[str]:
    if layout.packed:
        return row[layout.pixels[0]].split()
    return [row[position] for position in layout.pixels]


def _raise_first_fault(stream: IO[bytes], name: str, layout: Layout, is_unit: bool) -> None:
    count = len(layout.columns)
    texts = [position for position in (layout.label, layout.id) if position is not None]
    lines = _walk(stream, name, layout.separator)
    next(lines)
    for line, row in lines:
        if len(row) != count:
            raise DataError(
                f"{name} line {line} has {len(row)} fields; expected {count}, as in its header.",
                mend="Download the file again, or mend or remove the line.",
            )
        if layout.label is not None and is_missing(row[layout.label]):
            raise DataError(
                f"{name} line {line} has no label: column {layout.columns[layout.label]!r} holds "
                f"{row[layout.label]!r}; expected a class.",
                mend="Fill in the label, or remove the line.",
            )
        pixels = _pixels_of(row, layout)
        if layout.packed and len(pixels) != layout.shape.count:
            raise DataError(
                f"{name} line {line}, column {layout.columns[layout.pixels[0]]!r} holds "
                f"{len(pixels)} numbers; expected {layout.shape.count}, as in the first.",
                mend="Download the file again, or mend or remove the line.",
            )
        # One look at the whole line first: nearly all lines of a file are right.
        if not _VALUES.issuperset(pixels) or is_unit:
            order = range(len(pixels)) if layout.packed else np.argsort(layout.pixels).tolist()
            for place in order:
                column = layout.columns[layout.pixels[0 if layout.packed else place]]
                _require_pixel(pixels[place], f"{name} line {line}", column, is_unit)
        for position in sorted(texts):
            if not is_text(row[position]):
                raise DataError(
                    f"{name} line {line}, column {layout.columns[position]!r} is not UTF-8 text.",
                    mend="Save the file as UTF-8 CSV.",
                )


def _require_pixel(text: str, where: str, column: str, is_unit: bool) -> None:
    value = text.strip()
    shown = repr(text if len(text) <= 40 else f"{text[:40]}…")
    expected = (
        "a multiple of 1/255 from 0 to 1, as the file's other pixels"
        if is_unit
        else "a whole number from 0 to 255"
    )
    if value.lower() in _NO_VALUE:
        raise DataError(
            f"{where}, column {column!r} has no value (it holds {shown}); expected {expected}.",
            mend="Fill in the value, or remove the line.",
        )
    wrong = DataError(
        f"{where}, column {column!r} holds {shown}; expected {expected}.",
        mend="Write pixels as whole numbers, 0 (background) to 255.",
    )
    if not _NUMBER.fullmatch(value):
        raise wrong
    number = float(value)
    if not 0 <= number <= (1 if is_unit else 255):
        raise DataError(
            f"{where}, column {column!r} holds {shown}, which is out of range; expected "
            f"{expected}.",
            mend="Scale the pixels to 0 to 255.",
        )
    if abs(number * 255 - round(number * 255)) > _ROUNDED if is_unit else number != int(number):
        raise wrong
