"""Extras: predictions made elsewhere, brought as files, checked as our own are.

Rows are in the order of train.csv and test.csv; columns in the order of the competition's classes,
in a CSV file by their names. The table that `predict` writes is such a file too. Whether the first
file is out-of-fold cannot be seen in it; the blend's figures are honest only if it is.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensembles.prediction import IMAGE, LABEL, PROBABILITY
from kaggle_digits.core.predictions import require_softmax
from kaggle_digits.ground.competition import decode, is_whole_number, require_distinct_ids
from kaggle_digits.ground.errors import (
    ArtefactError,
    ConfigurationError,
    DataError,
    shorten,
)

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_FORM = "--extra OOF,TEST or OOF,TEST,NAME, two .npy or .csv files and a name"


@dataclass(frozen=True, slots=True)
class ExtraFiles:
    """Where an extra lies.

    Args:
        name: How tables and records name it.
        oof: File of its out-of-fold probabilities for the training rows.
        test: File of its probabilities for the test rows.
    """

    name: str
    oof: Path
    test: Path


@dataclass(frozen=True, slots=True, eq=False)
class Extra:
    """Predictions made elsewhere.

    Args:
        name: How tables and records name it.
        oof: float32 [rows, classes], rows that sum to 1.
        test: float32 [test rows, classes], likewise.
        oof_sha256: Of the file's bytes, 64 hex digits.
        test_sha256: Likewise.
    """

    name: str
    oof: np.ndarray
    test: np.ndarray
    oof_sha256: str
    test_sha256: str


def parse_extra(text: str) -> ExtraFiles:
    """Read the value of --extra: `OOF,TEST` or `OOF,TEST,NAME`.

    Without a name it is that of the first file, without its ending.

    Raises:
        ConfigurationError: It has another number of parts, an empty one, or files of another kind.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3) or not all(parts):
        raise ConfigurationError(f"--extra was given as {text!r}; expected {_FORM}.")
    oof, test = Path(parts[0]), Path(parts[1])
    for path in (oof, test):
        if path.suffix.lower() not in (".npy", ".csv"):
            raise ConfigurationError(
                f"--extra names {path}, which ends in {path.suffix or 'nothing'!r}; expected "
                f"{_FORM}.",
                mend="Save the array with numpy.save, or a table with a header of class names.",
            )
    return ExtraFiles(parts[2] if len(parts) == 3 else oof.stem, oof, test)


def read_extra(files: ExtraFiles, dataset: Dataset) -> Extra:
    """Read an extra and check it against the data.

    Args:
        files: Where it lies.
        dataset: Gives rows, ids and classes.

    Returns:
        The extra; rows that sum to 1 within 0.001 are scaled to do so exactly.

    Raises:
        DataError: A file is not there, cannot be read, or has other rows, ids or classes; or a row
            is no probability distribution.
    """
    classes = dataset.competition.classes
    oof, oof_sha256 = _read(files.oof, len(dataset.labels), classes, None)
    test, test_sha256 = _read(files.test, len(dataset.test_ids), classes, dataset.test_ids)
    return Extra(files.name, oof, test, oof_sha256, test_sha256)


def _read(
    path: Path, rows: int, classes: tuple[str, ...], ids: tuple[str, ...] | None
) -> tuple[np.ndarray, str]:
    """Read one file; `ids` are those of the test rows, None for training rows."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", mend="Check the path."
        ) from error
    if path.suffix.lower() == ".npy":
        values = _read_array(content, path)
    else:
        values = _read_table(content, path, rows, classes, ids)
    try:
        require_softmax(values, (rows, len(classes)), str(path))
    except ArtefactError as error:
        what = "test.csv" if ids is not None else "train.csv"
        raise DataError(
            error.message,
            mend=f"Give probabilities: a row for each row of {what} in its order, a column for "
            "each class in their order, no negative values, each row's sum 1.",
        ) from error
    scaled = values / values.sum(axis=1, keepdims=True, dtype=np.float64)
    return scaled.astype(np.float32), hashlib.sha256(content).hexdigest()


def _read_array(content: bytes, path: Path) -> np.ndarray:
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} is no array as numpy.save writes it: {error}.",
            mend="Save it again with numpy.save.",
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        found = values.dtype if isinstance(values, np.ndarray) else "an archive of arrays"
        raise DataError(
            f"{path} holds {found}; expected one array of probabilities.",
            mend="Save an array of float32 or float64 with numpy.save.",
        )
    as_float: np.ndarray = values.astype(np.float64)
    return as_float


def _read_table(
    content: bytes, path: Path, rows: int, classes: tuple[str, ...], ids: tuple[str, ...] | None
) -> np.ndarray:
    lines = csv.reader(io.StringIO(decode(content, str(path)), newline=""))
    try:
        table = [(lines.line_num, row) for row in lines if any(field.strip() for field in row)]
    except csv.Error as error:
        raise DataError(f"{path} line {lines.line_num} cannot be read: {error}.") from error
    header = [name.strip() for name in table[0][1]] if table else []
    predicted = [f"{PROBABILITY}{name}" for name in classes]
    of_predict = header[:2] == [IMAGE, LABEL] and set(predicted) <= set(header)
    if of_predict:
        columns, others = [header.index(name) for name in predicted], [0]
    else:
        others = [place for place, name in enumerate(header) if name not in classes]
        if sorted(header) != sorted([*classes, *(header[place] for place in others[:1])]):
            raise DataError(
                f"{path} has the columns {_listed(header)}; expected one for each class "
                f"({_listed(classes)}), and at most one more, of ids; or those of `predict`.",
                mend="Write a header line with the class names.",
            )
        columns = [header.index(name) for name in classes]
    values = np.empty((len(table) - 1, len(classes)))
    for number, (line, row) in enumerate(table[1:]):
        if len(row) != len(header):
            raise DataError(
                f"{path} line {line} has {len(row)} fields; expected {len(header)}, as in its "
                "header."
            )
        for place, column in enumerate(columns):
            try:
                values[number, place] = float(row[column])
            except ValueError:
                raise DataError(
                    f"{path} line {line}, column {header[column]!r} holds {row[column]!r}; "
                    "expected a probability."
                ) from None
    if not others or len(values) != rows:
        return values
    names = [row[others[0]].strip() for _, row in table[1:]]
    if of_predict and names == [str(number) for number in range(1, rows + 1)]:
        # `predict` counts the rows of a file without ids: they are in the file's order.
        return values
    order = _order(names, path, ids)
    in_order: np.ndarray = values[order]
    return in_order


def _order(found: Sequence[str], path: Path, ids: tuple[str, ...] | None) -> np.ndarray:
    """Return where each of the data's rows stands in a table with ids."""
    require_distinct_ids(found, str(path))
    if ids is None:
        # Training rows have no ids of their own: they are counted.
        first = 0 if "0" in found else 1
        ids = tuple(str(number) for number in range(first, len(found) + first))
        known = f"{first} to {len(found) - 1 + first}, the rows of train.csv in their order"
        found = [str(int(name)) if is_whole_number(name) else name for name in found]
    else:
        known = f"those of the test rows, {_listed(ids)}"
    place = {name: number for number, name in enumerate(found)}
    wanted = set(ids)
    unknown = next((name for name in found if name not in wanted), None)
    if unknown is not None:
        raise DataError(
            f"{path} has the id {unknown!r}; expected {known}.",
            mend="Leave the ids out if the rows are in order.",
        )
    return np.array([place[name] for name in ids])


def _listed(names: Sequence[str]) -> str:
    return shorten(list(map(repr, names))) or "none"
