"""A whole competition: headers, both tables and the sample submission, checked together."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.core.data.columns import Layout, arrange, read_header
from kaggle_digits.core.data.source import Source
from kaggle_digits.core.data.table import line_of, read_table
from kaggle_digits.ground.competition import (
    Competition,
    SubmissionFormat,
    is_whole_number,
    require_distinct_ids,
    sort_classes,
)
from kaggle_digits.ground.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """What a competition's files say.

    Args:
        competition: Shape, classes and the submission's form.
        images: uint8 [rows, height, width].
        labels: int64 [rows], class indices.
        test_images: uint8 [test rows, height, width].
        test_ids: In the order of `test_images`.
    """

    competition: Competition
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_ids: tuple[str, ...]


def read_competition(source: Source, say: Callable[[str], None]) -> Parsed:
    """Read and check a competition's files.

    Args:
        source: Where they lie.
        say: Gets a line before each long step.

    Raises:
        DataError: Something in them is not as it must be.
    """
    train_name, test_name = source.name("train"), source.name("test")
    sample = _read_sample(source)
    train_layout, test_layout = _read_layouts(source, sample[0].label_column if sample else None)
    assert train_layout.label is not None  # `arrange` finds one or refuses.
    label_column = train_layout.columns[train_layout.label]

    say(f"reading {train_name}")
    train = read_table(source, "train", train_layout)
    assert train.labels is not None
    if train.ids is not None:
        require_distinct_ids(train.ids, train_name)
    _require_known_labels(train.labels, source, label_column)
    classes = sort_classes(train.labels)
    if len(classes) < 2:
        raise DataError(
            f"{train_name} has one class only, {classes[0]!r} in column {label_column!r}; expected "
            "two or more.",
            mend="Check that the column is the label.",
        )
    index = {label: position for position, label in enumerate(classes)}

    say(f"reading {test_name}")
    test = read_table(source, "test", test_layout)
    if test.ids is not None:
        require_distinct_ids(test.ids, test_name)
    if sample is not None:
        form, ids = sample
        _require_same_ids(ids, test.ids, len(test.images), source)
    elif test.ids is not None and test_layout.id is not None:
        form = SubmissionFormat(test_layout.columns[test_layout.id], label_column)
        ids = tuple(test.ids)
    else:
        form = SubmissionFormat()
        ids = tuple(str(number) for number in range(1, len(test.images) + 1))
    return Parsed(
        competition=Competition(train_layout.height, train_layout.width, classes, form),
        images=train.images,
        labels=np.array([index[label] for label in train.labels], np.int64),
        test_images=test.images,
        test_ids=ids,
    )


def _read_layouts(source: Source, label_hint: str | None) -> tuple[Layout, Layout]:
    train_name, test_name = source.name("train"), source.name("test")
    try:
        with source.open("train") as stream:
            train = read_header(stream, train_name)
        with source.open("test") as stream:
            test = read_header(stream, test_name)
        return arrange(
            train, test, train_name=train_name, test_name=test_name, label_hint=label_hint
        )
    except DataError:
        # A damaged zip is the better reason for a header that makes no sense.
        source.verify("train")
        source.verify("test")
        raise


def _read_sample(source: Source) -> tuple[SubmissionFormat, tuple[str, ...]] | None:
    if not source.has("sample"):
        return None
    with source.open("sample") as stream:
        content = stream.read()
    try:
        return SubmissionFormat.read(content, source.name("sample"))
    except csv.Error as error:
        raise DataError(f"{source.name('sample')} cannot be read: {error}.") from error


def _require_known_labels(labels: Sequence[str], source: Source, column: str) -> None:
    """Refuse the few labels that are no whole numbers where nearly all are.

    Classes are read off the file, so that only a label of another kind than the rest can be told
    from a class; a class of very few rows is refused where the folds are made.
    """
    kinds = {label: is_whole_number(label) for label in set(labels)}
    odd = [row for row, label in enumerate(labels) if not kinds[label]]
    if not odd or len(odd) == len(labels):
        return
    few = len(odd) < 0.01 * len(labels) or (len(odd) < 3 and len(odd) < len(labels) / 2)
    first = odd[0] if few else next((row for row in odd if _is_number(labels[row])), None)
    if first is None:
        return
    known = sort_classes(label for label, whole in kinds.items() if whole)
    shown = ", ".join(known) if len(known) <= 12 else f"{known[0]} to {known[-1]}"
    raise DataError(
        f"{source.name('train')} line {line_of(source, 'train', first)} has the unknown label "
        f"{labels[first]!r} in column {column!r}; expected one of the others' kind: {shown}.",
        mend="Correct the label, or remove the line.",
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _require_same_ids(
    ids: Sequence[str], in_test: Sequence[str] | None, rows: int, source: Source
) -> None:
    sample, test = source.name("sample"), source.name("test")
    if len(ids) != rows:
        raise DataError(
            f"{sample} has {len(ids):,} ids, {test} has {rows:,} rows; expected as many.",
            mend="Check that both files are whole and from the same competition.",
        )
    if in_test is None:
        return
    for line, (given, expected) in enumerate(zip(ids, in_test, strict=True), start=2):
        if given != expected:
            raise DataError(
                f"{sample} line {line} has the id {given!r} where {test} has {expected!r}; "
                "expected the same ids in the same order.",
                mend=f"Put the lines of {sample} into the order of {test}.",
            )
