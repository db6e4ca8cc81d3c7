"""Corrections of training labels: rows that take another label, or are left out.

A file of them is a CSV table with the columns `row` (of train.csv, the first image is row 0; where
broken image files are left out, of the others) and `take`: the label to take, `exclude` for a row
that is to be left out, or nothing for one that stays as it is. Where there is a column `label`, it
must be what train.csv says of the row. Other columns are for people. The report's list of labels
that look wrong is such a file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from kaggle_digits.core.data.labels import class_of
from kaggle_digits.ground.artefacts import Fields, FormError
from kaggle_digits.ground.errors import DataError, did_you_mean, shorten
from kaggle_digits.ground.figures import corrections_text
from kaggle_digits.ground.stamps import digest

EXCLUDE = "exclude"
"""Stands in the place of a label for a row that is left out."""

COLUMNS = ("row", "label", "take")


@dataclass(frozen=True, slots=True)
class Fix:
    """One row.

    Args:
        row: Its place in train.csv, from 0.
        label: What train.csv says.
        take: The label to take; None for a row that is left out.
    """

    row: int
    label: str
    take: str | None


@dataclass(frozen=True, slots=True)
class Fixes:
    """What is corrected in the labels of a competition.

    Args:
        name: How messages name it: the file's path.
        changes: One or more, by ascending row; none says what train.csv says.
    """

    name: str
    changes: tuple[Fix, ...]

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the changes, whatever file they come from."""
        return digest([[one.row, one.label, one.take] for one in self.changes])

    @property
    def corrected(self) -> int:
        """How many rows take another label."""
        return sum(one.take is not None for one in self.changes)

    @property
    def left_out(self) -> int:
        """How many rows are left out."""
        return len(self.changes) - self.corrected

    def account(self) -> dict[str, Any]:
        """Return what artefacts say of them, as JSON can hold it."""
        return {
            "digest": self.digest,
            "corrected": self.corrected,
            "left_out": self.left_out,
        }

    def counts(self) -> str:
        """Say how many rows are changed."""
        return corrections_text(self.corrected, self.left_out)

    def __str__(self) -> str:
        return f"{self.name} (digest {self.digest}: {self.counts()})"

    def to_json(self) -> dict[str, Any]:
        """Return the changes as a dictionary that JSON can hold."""
        return {"name": self.name, "changes": [[c.row, c.label, c.take] for c in self.changes]}

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Make the value from `to_json`'s dictionary.

        Raises:
            FormError: It has another form.
        """
        fields = Fields(values)
        changes = []
        for one in fields.items("changes"):
            match one:
                case [int(row), str(label), str() | None as take] if type(row) is int and row >= 0:
                    changes.append(Fix(row, label, take))
                case _:
                    raise FormError(f"changes has {one!r}; expected row, label and label to take")
        return cls(fields.text("name"), tuple(changes))

    def to_csv(self) -> bytes:
        """Return the changes as a file of them."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in self.changes:
            take = EXCLUDE if one.take is None else harmless(one.take)
            writer.writerow([one.row, harmless(one.label), take])
        return out.getvalue().encode()


def corrected_digest(data: str, fixes: Fixes) -> str:
    """Return the digest of data, by their own, with their labels corrected."""
    return digest([data, fixes.digest])


def harmless(label: str) -> str:
    """Return a label that no spreadsheet takes for a formula; numbers stay."""
    try:
        float(label)
    except ValueError:
        return f"'{label}" if label.startswith(("=", "+", "-", "@", "\t", "\r")) else label
    return label


def fixed_labels(labels: np.ndarray, classes: Sequence[str], fixes: Fixes) -> np.ndarray:
    """Return labels with the corrections made; rows that are left out keep theirs.

    Args:
        labels: int64 [rows], class indices of train.csv.
        classes: The classes.
        fixes: Of these labels.

    Raises:
        ValueError: They are of other data.
    """
    made, place = labels.copy(), {name: index for index, name in enumerate(classes)}
    for one in fixes.changes:
        if one.row >= len(labels) or place.get(one.label) != labels[one.row]:
            raise ValueError(f"row {one.row} is not {one.label!r}")
        if one.take is None:
            continue
        if one.take not in place:
            raise ValueError(f"{one.take!r} is no class")
        made[one.row] = place[one.take]
    made.flags.writeable = False
    return made


def read_fixes(path: Path, labels: np.ndarray, classes: Sequence[str]) -> Fixes | None:
    """Read corrections of training labels.

    Args:
        path: A CSV file.
        labels: int64 [rows], class indices of train.csv.
        classes: The classes.

    Returns:
        The corrections; None where the file changes nothing.

    Raises:
        DataError: It cannot be read, or a line is no correction of these labels; the line is named.
    """
    changes: dict[int, Fix] = {}
    seen: dict[int, int] = {}
    for line, cells in _lines(path):
        where = f"{path} line {line}"
        row = _row(cells["row"], len(labels), where)
        if row in seen:
            raise DataError(
                f"{where} has row {row}, which line {seen[row]} has already; expected each once.",
                mend="Remove one of the lines.",
            )
        seen[row] = line
        label = classes[labels[row]]
        said = cells.get("label", "")
        if said and _meant(said, classes) != label:
            raise DataError(
                f"{where} says that row {row} has the label {said!r}; train.csv says {label!r}. "
                "The corrections are of other data.",
                mend="Make the report's list of labels that look wrong anew, from these data.",
            )
        take = _take(cells["take"], classes, where)
        if take not in (_STAYS, label):
            changes[row] = Fix(row, label, take)
    if not changes:
        return None
    return Fixes(str(path), tuple(changes[row] for row in sorted(changes)))


_STAYS = ""


def _take(text: str, classes: Sequence[str], where: str) -> str | None:
    if not text:
        return _STAYS
    found = _meant(text, classes)
    if found is not None:
        return found
    if text.lower() == EXCLUDE:
        return None
    raise DataError(
        f"{where} takes the label {text!r}, which is no class; expected one of "
        f"{shorten(list(classes))}, or {EXCLUDE}.",
        mend=did_you_mean(text, [*classes, EXCLUDE]),
    )


def _meant(text: str, classes: Sequence[str]) -> str | None:
    found = class_of(text, classes)
    return class_of(text[1:], classes) if found is None and text.startswith("'") else found


def _row(text: str, rows: int, where: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= rows:
        raise DataError(
            f"{where} has the row {text!r}; expected a whole number from 0, the first image of "
            f"train.csv, to {rows - 1}.",
            mend="Take the rows as the report gives them.",
        )
    return int(text)


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield each line that is not blank: its number, and its cells by their column's name."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"--labels {path} cannot be read: {error.strerror or error}.",
            mend="Give the file with the corrections: a CSV with the columns row and take.",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", mend="Save it as UTF-8 CSV.") from error
    first = text.partition("\n")[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        for name in ("row", "take"):
            if header.count(name) != 1:
                raise DataError(
                    f"{path} has the columns {shorten(header) or 'of an empty file'}; expected row "
                    f"and take once each, and label if you like.",
                    mend="take holds the label to take, exclude to leave a row out, or nothing.",
                )
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path} line {reader.line_num} has {len(cells)} fields; expected "
                    f"{len(header)}, as in its header.",
                    mend="Mend the line.",
                )
            yield reader.line_num, dict(zip(header, map(str.strip, cells), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} cannot be read: {error}.") from error
