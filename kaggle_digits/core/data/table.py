"""One table of images: CSV bytes to arrays, fast where all is well, line by line where not."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from kaggle_digits.core.data.columns import Layout, is_text, text_of
from kaggle_digits.core.data.source import Role, Source
from kaggle_digits.ground.errors import DataError

_CHUNK = 5000
_VALUES = frozenset(str(value) for value in range(256))
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NO_VALUE = frozenset({"", "nan", "na", "n/a", "null", "none"})
_NO_LABEL = frozenset({"", "nan", "na", "null"})


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One file's content.

    Args:
        images: uint8 [rows, height, width].
        labels: The label of each row as it stands in the file, blanks around it removed; none
            where the file has no label column.
        ids: The id of each row as it stands in the file; none where it has no id column.
    """

    images: np.ndarray
    labels: list[str] | None
    ids: list[str] | None


class _Unfit(ValueError):
    """The fast way met something that is not 0 to 255 everywhere."""


def read_table(source: Source, role: Role, layout: Layout) -> Table:
    """Read and check one table.

    Args:
        source: Where it lies.
        role: Which one.
        layout: What its columns are for.

    Raises:
        DataError: The first offending line is named: wrong length, missing label, a pixel that
            is empty, not a whole number or not 0 to 255; or there is no line at all.
    """
    try:
        with source.open(role) as stream:
            table = _read_fast(stream, layout)
    # Whatever the parser trips over, the line-by-line way says it better.
    except (ValueError, OverflowError) as error:
        source.verify(role)
        with source.open(role) as stream:
            _raise_first_fault(stream, source.name(role), layout)
        raise DataError(f"{source.name(role)} cannot be read: {error}.") from error
    if not len(table.images):
        raise DataError(
            f"{source.name(role)} is empty: it has a header but no images.",
            mend="Download it again.",
        )
    return table


def line_of(source: Source, role: Role, row: int) -> int:
    """Return the line in which a row stands (rows count from 0, lines from 1)."""
    with source.open(role) as stream:
        lines = _walk(stream, source.name(role))
        next(lines)
        return next(line for position, (line, _) in enumerate(lines) if position == row)


def _read_fast(stream: IO[bytes], layout: Layout) -> Table:
    import pandas

    count = len(layout.columns)
    texts = [position for position in (layout.label, layout.id) if position is not None]
    images: list[np.ndarray] = [np.empty((0, layout.height, layout.width), np.uint8)]
    columns: dict[int, list[str]] = {position: [] for position in texts}
    # Names by position: the header's own are checked already, and pandas would rename some.
    # Without a filter for "not available", such values make a column text, which is refused.
    chunks: Any = pandas.read_csv(
        stream,
        header=0,
        names=list(range(count)),
        dtype={position: str for position in texts},
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
            values = chunk.iloc[:, list(layout.pixels)].to_numpy()
            if values.dtype.kind != "i" or values.min() < 0 or values.max() > 255:
                raise _Unfit("a pixel is not a whole number from 0 to 255")
            images.append(values.astype(np.uint8).reshape(len(values), layout.height, layout.width))
            for position in texts:
                columns[position].extend(chunk[position].tolist())
    labels = None
    if layout.label is not None:
        labels = [label.strip() for label in columns[layout.label]]
        if any(label.lower() in _NO_LABEL for label in labels):
            raise _Unfit("a label is missing")
    return Table(
        images=np.concatenate(images),
        labels=labels,
        ids=None if layout.id is None else columns[layout.id],
    )


def _walk(stream: IO[bytes], name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each line that is not blank with its number, the header first."""
    line = 1
    try:
        with text_of(stream) as text:
            reader = csv.reader(text)
            for row in reader:
                if len(row) > 1 or "".join(row).strip():
                    yield line, row
                line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name} line {line} cannot be read: {error}.",
            mend='Look for a quotation mark (") that is not closed.',
        ) from error


def _raise_first_fault(stream: IO[bytes], name: str, layout: Layout) -> None:
    count = len(layout.columns)
    # Label and id; pixels are looked at as numbers.
    texts = sorted(set(range(count)).difference(layout.pixels))
    lines = _walk(stream, name)
    next(lines)
    for line, row in lines:
        if len(row) != count:
            raise DataError(
                f"{name} line {line} has {len(row)} fields; expected {count}, as in its header.",
                mend="Download the file again, or mend or remove the line.",
            )
        if layout.label is not None and row[layout.label].strip().lower() in _NO_LABEL:
            raise DataError(
                f"{name} line {line} has no label: column {layout.columns[layout.label]!r} holds "
                f"{row[layout.label]!r}; expected a class.",
                mend="Fill in the label, or remove the line.",
            )
        pixels = [row[position] for position in layout.pixels]
        # One look at the whole line first: nearly all lines of a file are right.
        if not _VALUES.issuperset(pixels):
            for position in sorted(layout.pixels):
                _require_pixel(row[position], f"{name} line {line}", layout.columns[position])
        for position in texts:
            if not is_text(row[position]):
                raise DataError(
                    f"{name} line {line}, column {layout.columns[position]!r} is not UTF-8 text.",
                    mend="Save the file as UTF-8 CSV.",
                )


def _require_pixel(text: str, where: str, column: str) -> None:
    value = text.strip()
    shown = repr(text if len(text) <= 40 else f"{text[:40]}…")
    if value.lower() in _NO_VALUE:
        raise DataError(
            f"{where}, column {column!r} has no value (it holds {shown}); expected a whole number "
            "from 0 to 255.",
            mend="Fill in the value, or remove the line.",
        )
    if not _WHOLE.fullmatch(value):
        raise DataError(
            f"{where}, column {column!r} holds {shown}; expected a whole number from 0 to 255.",
            mend="Write pixels as whole numbers, 0 (background) to 255.",
        )
    if len(value) > 18 or not 0 <= int(value) <= 255:
        raise DataError(
            f"{where}, column {column!r} holds {shown}, which is out of range; expected a whole "
            "number from 0 to 255.",
            mend="Scale the pixels to 0 to 255.",
        )
