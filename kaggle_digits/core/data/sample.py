"""The sample submission: the form of what is to be submitted, its ids and its labels."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kaggle_digits.core.data.columns import separator_of
from kaggle_digits.core.data.labels import class_of
from kaggle_digits.ground.competition import (
    SubmissionFormat,
    as_number,
    decode,
    read_labels,
    read_rows,
)
from kaggle_digits.ground.errors import DataError, shorten


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample submission shows.

    Args:
        form: The submission's form.
        ids: The test ids in its order.
        labels: What stands in the place of the predictions; none where probabilities do.
        columns: Of probabilities; none where labels are submitted.
    """

    form: SubmissionFormat
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    columns: tuple[str, ...] = ()


def read_sample(content: bytes, name: str) -> Sample:
    """Read a sample submission.

    One that a spreadsheet has saved with semicolons or tabs is read as the CSV that it was.

    Args:
        content: The file's bytes.
        name: How messages name the file.

    Raises:
        DataError: As `SubmissionFormat.read`; or it is no CSV.
    """
    content = _with_commas(content, name)
    columns = _value_columns(content, name)
    if columns:
        form, ids = _form_of(content, name)
        if len(columns) == 1:
            form = replace(form, label_column=columns[0])
        return Sample(form, ids, (), columns)
    form, ids = SubmissionFormat.read(content, name)
    return Sample(form, ids, tuple(read_labels(content, name).values()))


def _with_commas(content: bytes, name: str) -> bytes:
    text = decode(content, name)
    separator = separator_of(text.partition("\n")[0])
    if separator == ",":
        return content
    newline = "\r\n" if "\r\n" in text else "\n"
    out = io.StringIO(newline="")
    rows = read_rows(content, name, separator)
    csv.writer(out, lineterminator=newline).writerows(rows)
    written = out.getvalue() if text.endswith("\n") else out.getvalue().removesuffix(newline)
    return _encoded(written, content)


def _encoded(text: str, content: bytes) -> bytes:
    """Return text as bytes, with a byte-order mark if the file has one."""
    return text.encode("utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8")


def with_classes(sample: Sample, classes: Sequence[str], name: str) -> tuple[SubmissionFormat, str]:
    """Return the form of a sample that shows probabilities, and what is to be said of it.

    Args:
        sample: It has columns of values.
        classes: The labels of the training data.
        name: How messages name the file.

    Raises:
        DataError: The columns are not those of the classes.
    """
    columns = sample.columns
    if len(columns) == 1:
        if len(classes) != 2:
            raise DataError(
                f"{name} has one column of probabilities, {columns[0]!r}, but there are "
                f"{len(classes)} classes ({shorten(classes)}); expected two, or a column for each.",
                mend="Check that --data has the sample submission of this competition.",
            )
        named = class_of(columns[0], classes)
        positive = named or max(classes, key=_as_order)
        form = replace(sample.form, values=((columns[0], positive),))
        return form, f"{name} asks for a probability: {columns[0]} is that of the class {positive}"
    found = _classes_of(columns, classes)
    if found is None:
        raise DataError(
            f"{name} has {len(columns)} columns of values ({shorten(columns)}), which are not the "
            f"{len(classes)} classes ({shorten(classes)}).",
            mend="Check that the label column of the training data is the right one.",
        )
    form = replace(sample.form, values=tuple(zip(columns, found, strict=True)))
    return form, f"{name} asks for the probabilities of the {len(classes)} classes"


def _classes_of(columns: Sequence[str], classes: Sequence[str]) -> list[str] | None:
    """Return the class of each column; none unless they are the classes, each once."""
    shared = os.path.commonprefix(list(columns))
    for cut in (0, len(shared), len(shared.rstrip("0123456789"))):
        folded = {label.casefold(): label for label in classes}
        found = [
            class_of(name[cut:], classes) or folded.get(name[cut:].casefold()) for name in columns
        ]
        if sorted(filter(None, found)) == sorted(classes):
            return [label for label in found if label is not None]
    return None


def _as_order(label: str) -> tuple[int, float, str]:
    value = as_number(label)
    return (1, value, label) if value is not None else (0, 0.0, label)


def _value_columns(content: bytes, name: str) -> tuple[str, ...]:
    """Return the columns of probabilities that a sample has; none where it has labels."""
    rows = read_rows(content, name)
    if len(rows) < 2 or len(rows[0]) < 2 or any(len(row) != len(rows[0]) for row in rows):
        return ()
    values = [as_number(field) for row in rows[1:] for field in row[1:]]
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values) or not all(0 <= value <= 1 for value in numbers):
        return ()
    # In two columns, only a fraction tells a probability from a label.
    if len(rows[0]) == 2 and not any(value % 1 for value in numbers):
        return ()
    return tuple(rows[0][1:])


def _form_of(content: bytes, name: str) -> tuple[SubmissionFormat, tuple[str, ...]]:
    """Return the form and the ids of a sample with several columns of values."""
    rows = read_rows(content, name)
    narrow = io.StringIO(newline="")
    newline = "\r\n" if b"\r\n" in content else "\n"
    csv.writer(narrow, lineterminator=newline).writerows([row[0], "label"] for row in rows)
    text = narrow.getvalue()
    if not content.endswith(b"\n"):
        text = text.removesuffix(newline)
    form, ids = SubmissionFormat.read(_encoded(text, content), name)
    return replace(form, id_column=rows[0][0], label_column="label"), ids
