"""The sample submission: the form of what is to be submitted, its ids and its labels."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from kaggle_digits.core.data.columns import separator_of
from kaggle_digits.core.data.labels import as_number
from kaggle_digits.ground.competition import SubmissionFormat, decode, read_labels
from kaggle_digits.ground.errors import DataError, shorten


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample submission shows.

    Args:
        form: The submission's form.
        ids: The test ids in its order.
        labels: What stands in the place of the predictions.
    """

    form: SubmissionFormat
    ids: tuple[str, ...]
    labels: tuple[str, ...]


def read_sample(content: bytes, name: str) -> Sample:
    """Read a sample submission.

    One that a spreadsheet has saved with semicolons or tabs is read as the CSV that it was.

    Args:
        content: The file's bytes.
        name: How messages name the file.

    Raises:
        DataError: As `SubmissionFormat.read`, or it wants a value for each class.
    """
    content = _with_commas(content, name)
    _require_one_label(content, name)
    form, ids = SubmissionFormat.read(content, name)
    return Sample(form, ids, tuple(read_labels(content, name).values()))


def _with_commas(content: bytes, name: str) -> bytes:
    text = decode(content, name)
    separator = separator_of(text.partition("\n")[0])
    if separator == ",":
        return content
    newline = "\r\n" if "\r\n" in text else "\n"
    out = io.StringIO(newline="")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    csv.writer(out, lineterminator=newline).writerows(rows)
    written = out.getvalue() if text.endswith("\n") else out.getvalue().removesuffix(newline)
    mark = content.startswith(b"\xef\xbb\xbf")
    return written.encode("utf-8-sig" if mark else "utf-8")


def _require_one_label(content: bytes, name: str) -> None:
    """Name a competition that wants probabilities, which are not submitted yet."""
    rows = [row for row in csv.reader(io.StringIO(decode(content, name), newline="")) if row][:2]
    if len(rows) < 2 or len(rows[0]) < 3 or len(rows[1]) != len(rows[0]):
        return
    values = [as_number(field) for field in rows[1][1:]]
    fractions = any(value is not None and value % 1 for value in values)
    if None not in values and (fractions or len(values) > 2):
        raise DataError(
            f"{name} wants a value for each of {len(rows[0]) - 1} columns "
            f"({shorten(rows[0][1:])}), probabilities of the classes by their look; supported yet "
            "is one label for each image, two columns.",
            mend="Leave the sample submission out of --data to train all the same; `blend` then "
            "writes the probabilities into the workspace, as ensembles/blend/test.npy.",
        )
