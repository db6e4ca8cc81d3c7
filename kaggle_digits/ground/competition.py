"""A competition as a value: what its files look like, and the submission it expects.

Nothing here is bound to one competition: names, classes and shape are read off the files by
`core.data`; Digit Recognizer's are what stands in when a competition has no sample submission.
"""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from kaggle_digits.ground.artefacts import Fields, FormError
from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.ground.shapes import ImageShape


@dataclass(frozen=True, slots=True)
class SubmissionFormat:
    """The form of a submission file, as sample_submission.csv shows it.

    Args:
        id_column: Header of the first column.
        label_column: Header of the second column; where there is a column for each class, how the
            label is called.
        newline: Line ending, CRLF or LF.
        final_newline: Whether the last line ends with one.
        byte_order_mark: Whether the file starts with one.
        values: Where probabilities are submitted, each column's header and its class; a single one
            is the probability of the one class of two. Empty where labels are.
    """

    id_column: str = "ImageId"
    label_column: str = "Label"
    newline: str = "\r\n"
    final_newline: bool = True
    byte_order_mark: bool = False
    values: tuple[tuple[str, str], ...] = ()

    @property
    def header(self) -> list[str]:
        """The columns' names, the id's first."""
        return [self.id_column, *([name for name, _ in self.values] or [self.label_column])]

    @classmethod
    def read(cls, content: bytes, name: str) -> tuple[Self, tuple[str, ...]]:
        """Read the form and the ids off a sample submission.

        Args:
            content: The file's bytes.
            name: How messages name the file.

        Returns:
            The form, and the ids in the file's order.

        Raises:
            DataError: It is empty, no CSV, not of two columns, or its ids are doubled or empty.
        """
        text, rows = decode(content, name), read_rows(content, name)
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
        return self.render_fields(ids, [[label] for label in labels])

    def render_fields(self, ids: Sequence[str], fields: Sequence[Sequence[str]]) -> bytes:
        """Return a submission file's bytes in this form.

        Args:
            ids: Test ids in the order of the file, n of them.
            fields: What follows each id, n rows.
        """
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator=self.newline)
        writer.writerow(self.header)
        writer.writerows([key, *row] for key, row in zip(ids, fields, strict=True))
        text = out.getvalue()
        if not self.final_newline:
            text = text.removesuffix(self.newline)
        return text.encode("utf-8-sig" if self.byte_order_mark else "utf-8")


DIGIT_RECOGNIZER = "digit-recognizer"
"""The short name of the competition that is meant where none is named."""

_ADDED: dict[str, int | bool] = {"planes": 1, "planar": False, "fitted": False}


@dataclass(frozen=True, slots=True)
class Competition:
    """What one competition's files look like.

    Args:
        height: Image height in pixels.
        width: Image width in pixels.
        classes: The labels as they stand in the files; a class's index here is its column in
            every array of probabilities.
        form: The submission's form.
        planes: 1 for grey images, 3 for images in red, green and blue.
        planar: Whether rows of numbers hold one plane of an image after another.
        fitted: Whether images were scaled to this size from others, so that new ones are, too.
    """

    height: int
    width: int
    classes: tuple[str, ...]
    form: SubmissionFormat
    planes: int = 1
    planar: bool = False
    fitted: bool = False

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

    @property
    def shape(self) -> ImageShape:
        """The shape of the images, and how a row of numbers holds one."""
        return ImageShape(self.height, self.width, self.planes, self.planar)

    def to_json(self) -> dict[str, Any]:
        """Return the value as a dictionary that JSON can hold.

        What came later is left out where it has its neutral value, so that digests of data stay
        what they were before it came.
        """
        values = asdict(self) | {"classes": list(self.classes)}
        if not self.form.values:
            del values["form"]["values"]
        return {key: value for key, value in values.items() if _ADDED.get(key) != value}

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
                values=_pairs(form),
            ),
            planes=fields.whole("planes", 1, least=1),
            planar=fields.flag("planar", False),
            fitted=fields.flag("fitted", False),
        )

    def fields(
        self, probabilities: Sequence[Sequence[float]], answers: Sequence[int]
    ) -> list[list[str]]:
        """Return what a submission says of each image: its label, or what is asked for of it.

        Args:
            probabilities: Of each image, those of all classes in their order.
            answers: The class named for each.
        """
        if not self.form.values:
            return [[self.classes[index]] for index in answers]
        places = [self.classes.index(label) for _, label in self.form.values]
        return [[f"{row[place]:.9g}" for place in places] for row in probabilities]

    def read_values(self, content: bytes, name: str) -> dict[str, list[float]]:
        """Read a submission of probabilities: each id's, of the form's columns in their order.

        Raises:
            DataError: It is no CSV, the header is another one, a line has another number of fields,
                a value is no probability, or ids are doubled or empty.
        """
        rows = read_rows(content, name)
        if not rows or rows[0] != self.form.header:
            given = ",".join(rows[0]) if rows else ""
            raise DataError(
                f"{name} has the header {given!r}; expected {','.join(self.form.header)!r}.",
                mend="Letter case and order count; there must be no index column.",
            )
        for line, row in enumerate(rows[1:], start=2):
            if len(row) != len(rows[0]):
                raise DataError(
                    f"{name} line {line} has {len(row)} fields; expected {len(rows[0])}."
                )
        require_distinct_ids((row[0] for row in rows[1:]), name)
        return {
            row[0]: [_probability(field, f"{name} line {line}") for field in row[1:]]
            for line, row in enumerate(rows[1:], start=2)
        }

    def answers(self, content: bytes, name: str) -> dict[str, str]:
        """Read a submission: the label of each id, the most probable one where it has values.

        Raises:
            DataError: It is none.
        """
        if not self.form.values:
            return read_labels(content, name)
        return self.most_probable(self.read_values(content, name))

    def most_probable(self, values: Mapping[str, Sequence[float]]) -> dict[str, str]:
        """Return the most probable label of each id.

        Args:
            values: Each id's, of the form's columns in their order, as `read_values` gives them.
        """
        labels = [label for _, label in self.form.values]
        if len(labels) == 1:
            (other,) = [label for label in self.classes if label != labels[0]]
            return {key: labels[0] if row[0] >= 0.5 else other for key, row in values.items()}
        return {
            key: labels[max(range(len(row)), key=row.__getitem__)] for key, row in values.items()
        }


def _probability(field: str, where: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise DataError(f"{where} has the value {field!r}; expected a probability, 0 to 1.")
    return value


def _pairs(form: Fields) -> tuple[tuple[str, str], ...]:
    if "values" not in form:
        return ()
    found = [tuple(pair) for pair in form.items("values") if isinstance(pair, list)]
    if any(len(pair) != 2 or not all(isinstance(one, str) for one in pair) for pair in found):
        raise FormError("values holds something else than pairs of a column and a class")
    return tuple((str(pair[0]), str(pair[1])) for pair in found)


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


def competition_option(name: str) -> str:
    """Return what names a competition in a command line, behind its other words.

    Args:
        name: Its short name; nothing is said of the usual one.
    """
    return "" if name == DIGIT_RECOGNIZER else f" --competition {shlex.quote(name)}"


def read_labels(content: bytes, name: str) -> dict[str, str]:
    """Read a file of two columns, id and label (a submission, or the truth), in its order.

    Args:
        content: The file's bytes.
        name: How messages name the file.

    Raises:
        DataError: As `SubmissionFormat.read`.
    """
    _, ids = SubmissionFormat.read(content, name)
    rows = read_rows(content, name)
    return dict(zip(ids, (row[1] for row in rows[1:]), strict=True))


def read_rows(content: bytes, name: str, separator: str = ",") -> list[list[str]]:
    """Return the fields of each line of a CSV file that is not empty.

    Args:
        content: The file's bytes.
        name: How messages name the file.
        separator: What stands between fields.

    Raises:
        DataError: It is not UTF-8, or no CSV.
    """
    lines = io.StringIO(decode(content, name), newline="")
    try:
        return [row for row in csv.reader(lines, delimiter=separator) if row]
    except csv.Error as error:
        raise DataError(
            f"{name} cannot be read: {error}.",
            mend='Look for a quotation mark (") that is not closed.',
        ) from error


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
    """Return the distinct labels in order: by value where all are finite numbers, else as text."""
    distinct = set(labels)
    if all(is_whole_number(label) for label in distinct):
        # As whole numbers: a float would not tell those of many digits apart.
        return tuple(sorted(distinct, key=lambda label: (int(label), label)))
    numbers = {label: number for label in distinct if (number := as_number(label)) is not None}
    if len(numbers) < len(distinct):
        return tuple(sorted(distinct))
    return tuple(sorted(distinct, key=lambda label: (numbers[label], label)))


def as_number(text: str) -> float | None:
    """Return the number that a label is; None for a word, and for what is not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    # Python alone takes `1_0` for a number.
    return value if math.isfinite(value) and "_" not in text else None


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
