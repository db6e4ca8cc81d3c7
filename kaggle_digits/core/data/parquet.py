"""Parquet tables, read as the CSV of the same content.

So that there is one way for all tables: the same checks, the same messages (lines are those of that
CSV, the first row in line 2) and the same digest. Nothing is written to disk, and a few rows at a
time are made into text. pyarrow is an extra; it is imported only where there is such a file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from kaggle_digits.ground.errors import ConfigurationError, DataError

SUFFIX = ".parquet"
_ROWS = 1000


@contextmanager
def as_csv(stream: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Give a Parquet file's content as CSV, for reading from its start.

    Args:
        stream: The file.
        name: How messages name it.

    Raises:
        ConfigurationError: pyarrow is not installed.
        DataError: It is no Parquet file, is damaged, or a column holds neither numbers, texts nor
            lists of numbers; the first two, inside the block too.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigurationError(
            f"{name} is a Parquet file; what reads it, pyarrow, is not installed.",
            mend="Call pip install 'kaggle-digits[parquet]', or give --data the CSV files.",
        ) from error
    # Its end tells where all else stands, so a zip's member is wanted whole.
    whole = stream if isinstance(stream, io.BufferedReader) else io.BytesIO(stream.read())
    try:
        with parquet.ParquetFile(whole) as file:
            _require_plain(file.schema_arrow, name)
            text = io.BufferedReader(_Text(_lines(file, name)), 1 << 20)
            yield cast(IO[bytes], text)
    except pyarrow.ArrowException as error:
        raise _damaged(name, error) from error


class _Text(io.RawIOBase):
    """Pieces of text as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        part = self._left[: len(buffer)]
        buffer[: len(part)] = part
        self._left = self._left[len(part) :]
        return len(part)


def _lines(file: Any, name: str) -> Iterator[bytes]:
    """Yield the header, then some rows at a time, as CSV."""
    import pyarrow
    from pyarrow import csv

    is_first = True
    try:
        for batch in file.iter_batches(batch_size=_ROWS):
            yield _text(batch, csv.WriteOptions(include_header=is_first))
            is_first = False
        if is_first:
            empty = file.schema_arrow.empty_table().combine_chunks()
            yield _text(empty, csv.WriteOptions(include_header=True))
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(name, error) from error


def _text(rows: Any, options: Any) -> bytes:
    import pyarrow
    from pyarrow import csv

    columns = [_plain(column) for column in rows.columns]
    out = io.BytesIO()
    csv.write_csv(pyarrow.table(columns, names=rows.schema.names), out, options)
    return out.getvalue()


def _plain(column: Any) -> Any:
    """Return a column as one of numbers or texts; lists of numbers with blanks between them."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if types.is_float16(kind):
        return column.cast(pyarrow.float32())
    if _is_list(kind):
        return pyarrow.array(
            [None if row is None else " ".join(map(_number, row)) for row in column.to_pylist()],
            pyarrow.string(),
        )
    return column


def _number(value: object) -> str:
    return "nan" if value is None else str(value)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _require_plain(schema: Any, name: str) -> None:
    from pyarrow import types

    for field in schema:
        kind = field.type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        is_numbers = _is_list(kind) and (
            types.is_integer(kind.value_type) or types.is_floating(kind.value_type)
        )
        if types.is_nested(kind) and not is_numbers or types.is_binary(kind):
            raise DataError(
                f"{name}, column {field.name!r} holds {kind}; expected numbers, texts or lists of "
                "numbers.",
                mend="Write a column for each pixel, or the images as files.",
            )


def _damaged(name: str, error: Exception) -> DataError:
    said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return DataError(
        f"{name} is damaged ({said}); expected a whole Parquet file.", mend="Download it again."
    )
