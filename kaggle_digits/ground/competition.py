"""A competition as a value: what its files look like, and the submission it expects.

Nothing here is bound to one competition: names, classes and shape are read off the files by
`core.data`; Digit Recognizer's are what stands in when a competition has no sample submission.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.errors import ConfigurationError, DataError


@dataclass(frozen=True, slots=True)
class SubmissionFormat:
    """The form of a submission file, as sample_submission.csv shows it.

    Args:
        id_column: Header of the first column.
        label_column: Header of the second column.
        newline: Line ending, CRLF or LF.
        final_newline: Whether the last line ends with one.
        byte_order_mark: Whether the file starts with one.
    """

    id_column: str = "ImageId"
    label_column: str = "Label"
    newline: str = "\r\n"
    final_newline: bool = True
    byte_order_mark: bool = False

    @classmethod
    def read(cls, content: bytes, name: str) -> tuple[Self, tuple[str, ...]]:
        """Read the form and the ids off a sample submission.

        Args:
            content: The file's bytes.
            name: How messages name the file.

        Returns:
            The form, and the ids in the file's order.

        Raises:
            DataError: It is empty, not text, not of two columns, or its ids are doubled or empty.
        """
        text = decode(content, name)
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        if len(rows) < 2:
            raise DataError(f"{name} is empty; expected a header and one line for each test image.")
        for number, row in enumerate(rows, start=1):
            if len(row) != 2:
                raise DataError(
                    f"{name} line {number} has {len(row)} fields; expected 2, an id and a label."
                )
        ids = tuple(row[0] for row in rows[1:])
        require_distinct_ids(ids, name)
        form = cls(
            id_column=rows[0][0],
            label_column=rows[0][1],
            newline="\r\n" if "\r\n" in text else "\n",
            final_newline=text.endswith("\n"),
            byte_order_mark=content.startswith(b"\xef\xbb\xbf"),
        )
        return form, ids

    def render(self, ids: Sequence[str], labels: Sequence[str]) -> bytes:
        """Return a submission file's bytes in this form.

        Args:
            ids: Test ids in the order of the file, n of them.
            labels: The predicted class of each, n texts.
        """
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator=self.newline)
        writer.writerow([self.id_column, self.label_column])
        writer.writerows(zip(ids, labels, strict=True))
        text = out.getvalue()
        if not self.final_newline:
            text = text.removesuffix(self.newline)
        return text.encode("utf-8-sig" if self.byte_order_mark else "utf-8")


@dataclass(frozen=True, slots=True)
class Competition:
    """What one competition's files look like.

    Args:
        height: Image height in pixels.
        width: Image width in pixels.
        classes: The labels as they stand in the files; a class's index here is its column in
            every array of probabilities.
        form: The submission's form.
    """

    height: int
    width: int
    classes: tuple[str, ...]
    form: SubmissionFormat

    def __post_init__(self) -> None:
        """Refuse labels that cannot stand in a submission.

        Raises:
            DataError: One holds a line break or a NUL.
        """
        for label in self.classes:
            if any(sign in label for sign in "\r\n\0"):
                raise DataError(
                    f"The label {label!r} holds a line break or a NUL, which cannot stand in a "
                    "submission.",
                    mend="Rename it in the training data.",
                )

    def to_json(self) -> dict[str, Any]:
        """Return the value as a dictionary that JSON can hold."""
        return asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make the value from `to_json`'s dictionary.

        Raises:
            FormError: It is none.
        """
        fields = Fields(values)
        form = fields.within("form")
        return cls(
            height=fields.whole("height", least=1),
            width=fields.whole("width", least=1),
            classes=tuple(fields.texts("classes")),
            form=SubmissionFormat(
                id_column=form.text("id_column"),
                label_column=form.text("label_column"),
                newline=form.text("newline"),
                final_newline=form.flag("final_newline"),
                byte_order_mark=form.flag("byte_order_mark"),
            ),
        )


def short_name(given: str) -> str:
    """Return a competition's short name, from itself, from `c/name`, or from any of its addresses.

    Args:
        given: As the user gave it.

    Raises:
        ConfigurationError: It cannot be one.
    """
    rest = re.sub(r"(?i)^(https?://)?(www\.)?kaggle\.com(?=/|$)", "", given.strip())
    parts = [part for part in re.split(r"[?#]", rest)[0].split("/") if part]
    if parts[:1] in (["c"], ["competitions"]):
        name = parts[1] if len(parts) > 1 else ""
    else:
        name = parts[0] if len(parts) == 1 and "/" not in rest.rstrip("/") else ""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ConfigurationError(
            f"--competition was given as {given!r}; expected a competition's short name, or its "
            "address.",
            mend="The short name is what follows https://www.kaggle.com/competitions/ there, as in "
            "digit-recognizer.",
        )
    return name


def read_labels(content: bytes, name: str) -> dict[str, str]:
    """Read a file of two columns, id and label (a submission, or the truth), in its order.

    Args:
        content: The file's bytes.
        name: How messages name the file.

    Raises:
        DataError: As `SubmissionFormat.read`.
    """
    _, ids = SubmissionFormat.read(content, name)
    rows = [row for row in csv.reader(io.StringIO(decode(content, name), newline="")) if row]
    return dict(zip(ids, (row[1] for row in rows[1:]), strict=True))


def require_distinct_ids(ids: Iterable[str], name: str) -> None:
    """Refuse empty and doubled ids.

    Args:
        ids: In the file's order, the first in line 2.
        name: How messages name the file.

    Raises:
        DataError: The first offending line is named.
    """
    seen: dict[str, int] = {}
    for line, value in enumerate(ids, start=2):
        if not value.strip():
            raise DataError(f"{name} line {line} has no id.")
        if value in seen:
            raise DataError(
                f"{name} has the id {value!r} twice, in lines {seen[value]} and {line}."
            )
        seen[value] = line


def sort_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels in order: by value where all are whole numbers, else as text."""
    distinct = set(labels)
    if all(is_whole_number(label) for label in distinct):
        return tuple(sorted(distinct, key=int))
    return tuple(sorted(distinct))


def is_whole_number(text: str) -> bool:
    """Say whether a field holds a whole number and nothing else."""
    return text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()


def decode(content: bytes, name: str) -> str:
    """Return a CSV file's text; a byte order mark is left out.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8 text (byte {error.start}).", mend="Save it as UTF-8 CSV."
        ) from error
