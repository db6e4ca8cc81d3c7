"""What a submission file must be before anything is sent: the competition's own rules.

The form and the ids come from the sample submission and the test images, the labels from the
training data; nothing is assumed that those files do not show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.ground.competition import (
    Competition,
    SubmissionFormat,
    decode,
    read_labels,
    read_rows,
)
from kaggle_digits.ground.errors import DataError, shorten

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_WRONG_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK\x03\x04": "a zip file"}
_LONGEST = 64_000_000
_SUM_TOLERANCE = 1e-3
_OTHER_ORDER = "rows stand in another order than the sample's; Kaggle goes by their ids"
_NAMES = {"\r\n": "CRLF", "\n": "LF"}


@dataclass(frozen=True, slots=True)
class SubmissionFile:
    """A submission that keeps to the competition's rules.

    Args:
        name: How messages name the file.
        content: Its bytes.
        ids: Test ids in the competition's order, n of them, in whatever order the file has them.
        labels: The predicted class of each, n texts; the most probable one where probabilities are
            submitted.
        remarks: What is unusual about it, but taken by Kaggle all the same.
        competition: Its form, where it is known.
        values: Where probabilities are submitted, those of the form's columns, n rows.
        kernel: `owner/slug/version` of the kernel that wrote it, where that is what is submitted;
            None where the file is.
    """

    name: str
    content: bytes
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    remarks: tuple[str, ...]
    competition: Competition | None = None
    values: tuple[tuple[float, ...], ...] = ()
    kernel: str | None = None

    @property
    def sha256(self) -> str:
        """64 hex digits over the bytes."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def digest(self) -> str:
        """64 hex digits over what is predicted: two files that say the same have the same.

        A kernel's version is run again on other test images, where two that write the same here
        need not; its digest is that of its name and number.
        """
        if self.kernel is not None:
            return hashlib.sha256(f"kernel {self.kernel}".encode()).hexdigest()
        if not self.values:
            return predictions_digest(self.ids, self.labels)
        return predictions_digest(self.ids, [",".join(map(repr, row)) for row in self.values])


def predictions_digest(ids: Sequence[str], labels: Sequence[str]) -> str:
    """Return 64 hex digits over ids and labels, whatever the line endings and quotes.

    Args:
        ids: n test ids.
        labels: n labels.
    """
    text = "\n".join(f"{key},{label}" for key, label in zip(ids, labels, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()


def read_file(path: Path) -> bytes:
    """Read a submission's bytes.

    Raises:
        DataError: It is missing, a folder, unreadable, or far too large.
    """
    try:
        if path.stat().st_size > _LONGEST:
            raise DataError(
                f"{path} has {path.stat().st_size / 1e6:,.0f} MB; a submission has a few.",
                mend="Give the CSV file that `blend` wrote.",
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there.", mend="Give a submission's CSV file.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def validate(content: bytes, name: str, dataset: Dataset) -> SubmissionFile:
    """Hold a submission against the competition.

    Args:
        content: The file's bytes.
        name: How messages name the file.
        dataset: The competition's data: test ids in order, classes, the form.

    Returns:
        The file, read.

    Raises:
        DataError: The first rule it breaks, with the line.
    """
    competition = dataset.competition
    for start, kind in _WRONG_ENCODINGS.items():
        if content.startswith(start):
            raise DataError(f"{name} is {kind}; expected UTF-8 text.", mend="Save it as UTF-8 CSV.")
    text = decode(content, name)
    remarks = _check_text(content, text, name, competition.form)
    if competition.form.values:
        return _of_values(content, name, dataset, remarks)
    expected = competition.form.header
    rows = read_rows(content, name)
    if rows and rows[0] != expected:
        raise DataError(
            f"{name} has the header {','.join(rows[0])!r}; expected {','.join(expected)!r}.",
            mend="Letter case and order count; there must be no index column.",
        )
    label_of = read_labels(content, name)
    ids, labels = tuple(label_of), tuple(label_of.values())
    _check_ids(ids, dataset.test_ids, name)
    _check_labels(labels, competition.classes, name)
    if ids != tuple(dataset.test_ids):
        ids = tuple(dataset.test_ids)
        labels = tuple(label_of[key] for key in ids)
        remarks += (_OTHER_ORDER,)
    return SubmissionFile(name, content, ids, labels, remarks, competition)


def _of_values(
    content: bytes, name: str, dataset: Dataset, remarks: tuple[str, ...]
) -> SubmissionFile:
    competition, ids = dataset.competition, tuple(dataset.test_ids)
    values = competition.read_values(content, name)
    _check_ids(tuple(values), ids, name)
    labels = competition.most_probable(values)
    if len(competition.form.values) > 1:
        off = next((key for key, row in values.items() if abs(sum(row) - 1) > _SUM_TOLERANCE), None)
        if off is not None:
            remarks += (
                f"the probabilities of {off!r} sum to {sum(values[off]):.4f}, not 1, for which "
                "Kaggle divides each row by its sum",
            )
    if tuple(values) != ids:
        remarks += (_OTHER_ORDER,)
    return SubmissionFile(
        name=name,
        content=content,
        ids=ids,
        labels=tuple(labels[key] for key in ids),
        remarks=remarks,
        competition=competition,
        values=tuple(tuple(values[key]) for key in ids),
    )


def _check_text(content: bytes, text: str, name: str, form: SubmissionFormat) -> tuple[str, ...]:
    if "\0" in text:
        raise DataError(f"{name} holds NUL characters; expected CSV text.")
    crlf = text.count("\r\n")
    lone_cr = text.count("\r") - crlf
    lone_lf = text.count("\n") - crlf
    if lone_cr or (crlf and lone_lf):
        raise DataError(
            f"{name} mixes line endings: {crlf} CRLF, {lone_lf} LF, {lone_cr} CR; expected "
            f"{_NAMES[form.newline]} throughout, as in the sample submission.",
            mend="Write the file in one go with one line ending.",
        )
    if content.startswith(b"\xef\xbb\xbf") and not form.byte_order_mark:
        raise DataError(
            f"{name} starts with a byte order mark, which the sample submission has not; it would "
            f"become part of the name {form.id_column!r}.",
            mend="Save it as UTF-8 without a byte order mark.",
        )
    newline = "\r\n" if crlf else "\n"
    if newline != form.newline:
        return (f"lines end in {_NAMES[newline]}, the sample's in {_NAMES[form.newline]}",)
    return ()


def _check_ids(ids: Sequence[str], expected: Sequence[str], name: str) -> None:
    wanted = set(expected)
    for line, key in enumerate(ids, start=2):
        if key not in wanted:
            raise DataError(
                f"{name} line {line} has the id {key!r}, which is none of the competition's "
                f"{len(expected)} test ids ({expected[0]} to {expected[-1]})."
            )
    if len(ids) != len(expected):
        given = set(ids)
        absent = next(key for key in expected if key not in given)
        raise DataError(
            f"{name} has {len(ids)} predictions; expected {len(expected)}. The first absent id "
            f"is {absent!r}."
        )


def _check_labels(labels: Sequence[str], classes: Sequence[str], name: str) -> None:
    known = set(classes)
    for line, label in enumerate(labels, start=2):
        if label not in known:
            raise DataError(
                f"{name} line {line} has the label {label!r}; expected one of {shorten(classes)}.",
                mend=_mend_label(label, known),
            )


def _mend_label(label: str, known: set[str]) -> str | None:
    if not label.strip():
        return "Every test image needs a prediction."
    if label.strip() in known:
        return "Leave out the spaces around labels."
    if label.removesuffix(".0") in known:
        return "Write labels as whole numbers, not as floats."
    return None
