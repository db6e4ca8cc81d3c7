"""A whole competition: headers, both tables and the sample submission, checked together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.core.data.columns import Arrangement, Layout, arrange, read_header
from kaggle_digits.core.data.labels import in_sample_form, is_writable
from kaggle_digits.core.data.sample import Sample, read_sample, with_classes
from kaggle_digits.core.data.source import Source
from kaggle_digits.core.data.table import ImageTable, line_of, read_table
from kaggle_digits.ground.competition import (
    Competition,
    SubmissionFormat,
    as_number,
    is_whole_number,
    require_distinct_ids,
    sort_classes,
)
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.wanted import PLAIN, Wanted


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """What a competition's files say.

    Args:
        competition: Shape, classes and the submission's form.
        images: uint8 [rows, height, width], in colour [rows, height, width, 3].
        labels: int64 [rows], class indices.
        test_images: uint8 [test rows, height, width] or [test rows, height, width, 3].
        test_ids: In the order of `test_images`.
        groups: int64 [rows], rows with equal numbers stand in one fold; None for no groups.
        folds: int64 [rows], each row's fold where the files say it; else None.
    """

    competition: Competition
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_ids: tuple[str, ...]
    groups: np.ndarray | None = None
    folds: np.ndarray | None = None


def read_competition(source: Source, say: Callable[[str], None], wanted: Wanted = PLAIN) -> Parsed:
    """Read and check a competition's files.

    Args:
        source: Where they lie.
        say: Gets a line before each long step, and what was chosen or left out on the way.
        wanted: What the user asks for of the way they are read.

    Raises:
        DataError: Something in them is not as it must be.
        ConfigurationError: The images are not of the shape that was asked for.
    """
    train_name, test_name = source.name("train"), source.name("test")
    sample = _read_sample(source)
    columns = _arrange(source, sample, wanted)
    assert columns.train.label is not None  # `arrange` finds one or refuses.
    label_column = columns.train.columns[columns.train.label]

    say(f"reading {train_name}")
    train = read_table(source, "train", columns.train)
    assert train.labels is not None
    if train.ids is not None:
        require_distinct_ids(train.ids, train_name)
    labels, label_remark = in_sample_form(train.labels, sample.labels if sample else ())
    _require_known_labels(labels, source, columns.train)
    _require_writable(labels, source, columns.train)
    classes = sort_classes(labels)
    if len(classes) < 2:
        raise DataError(
            f"{train_name} has one class only, {classes[0]!r} in column {label_column!r}; expected "
            "two or more.",
            mend="Check that the column is the label.",
        )
    index = {label: position for position, label in enumerate(classes)}

    say(f"reading {test_name}")
    test = read_table(source, "test", columns.test)
    form, ids, id_remark = _choose_ids(test.ids, len(test.images), columns, sample, source)
    form_remark = None
    if sample is not None and sample.columns:
        form, form_remark = with_classes(sample, classes, source.name("sample"))
    images, test_images, scale_remark = in_one_scale(train, test, train_name, test_name)
    for remark in (*columns.remarks, scale_remark, label_remark, id_remark, form_remark):
        if remark:
            say(remark)
    shape = columns.train.shape
    return Parsed(
        competition=Competition(
            shape.height, shape.width, classes, form, shape.planes, shape.planar
        ),
        images=images,
        labels=np.array([index[label] for label in labels], np.int64),
        test_images=test_images,
        test_ids=ids,
        **fold_arrays(wanted, train.kept),
    )


def in_one_scale(
    train: ImageTable, test: ImageTable, train_name: str, test_name: str
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Return both tables' images on the scale 0 to 255, and what is to be said of it.

    Raises:
        DataError: One is written as 0 to 1, the other as 0 to 255.
    """
    scales = {train.scale, test.scale}
    if "whole" in scales:
        for one, name, other in ((train, train_name, test_name), (test, test_name, train_name)):
            # A table of blank images alone is on any scale.
            if one.scale != "whole" and one.images.any():
                raise DataError(
                    f"{name} has pixels from 0 to 1, {other} from 0 to 255; expected one scale in "
                    "both.",
                    mend="Write the pixels of both files as whole numbers from 0 to 255.",
                )
        floats = [name for one, name in ((train, train_name), (test, test_name)) if one.floats]
        remark = f"{' and '.join(floats)}: pixels written as floats are whole numbers, read so"
        return train.images, test.images, remark if floats else None
    images, test_images = (
        one.images * np.uint8(255) if one.scale == "binary" else one.images for one in (train, test)
    )
    return images, test_images, "pixels from 0 to 1 are multiplied by 255, in train and test alike"


def fold_arrays(wanted: Wanted, columns: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Return the groups or the folds that a column gives, as fields of `Parsed`.

    Args:
        wanted: What the columns are for.
        columns: Those of `wanted.columns`.
    """
    if not columns:
        return {}
    (values,) = columns
    place = {value: number for number, value in enumerate(sort_classes(values))}
    numbers = np.array([place[value] for value in values], np.int64)
    if wanted.fold_column is not None and len(place) < 2:
        raise DataError(
            f"The column {wanted.fold_column!r} has one value, {values[0]!r}; expected two folds "
            "or more.",
            mend="Give another --fold-column.",
        )
    return {"groups" if wanted.groups is not None else "folds": numbers}


def _arrange(source: Source, sample: Sample | None, wanted: Wanted) -> Arrangement:
    train_name, test_name = source.name("train"), source.name("test")
    try:
        with source.open("train") as stream:
            train = read_header(stream, train_name)
        with source.open("test") as stream:
            test = read_header(stream, test_name)
        return arrange(
            train,
            test,
            train_name=train_name,
            test_name=test_name,
            sample=(sample.form.id_column, sample.form.label_column) if sample else None,
            shape=wanted.shape,
            keep=wanted.columns,
        )
    except DataError:
        # A damaged zip is the better reason for a header that makes no sense.
        source.verify("train")
        source.verify("test")
        raise


def _read_sample(source: Source) -> Sample | None:
    if not source.has("sample"):
        return None
    with source.open("sample") as stream:
        content = stream.read()
    return read_sample(content, source.name("sample"))


def _choose_ids(
    found: list[str] | None,
    rows: int,
    columns: Arrangement,
    sample: Sample | None,
    source: Source,
) -> tuple[SubmissionFormat, tuple[str, ...], str | None]:
    """Return the submission's form, the test ids, and what is to be said of the id column."""
    test_name, layout, remark = source.name("test"), columns.test, None
    if found is not None and layout.id is not None:
        if not columns.is_named_id and not _could_be_ids(found, sample):
            remark = (
                f"{test_name}: left out what is no pixel, label or id: {layout.columns[layout.id]}"
            )
            found = None
        else:
            require_distinct_ids(found, test_name)
            _require_writable_ids(found, test_name)
    if sample is not None:
        _require_same_ids(sample.ids, found, rows, source)
        return sample.form, sample.ids, remark
    if found is not None and layout.id is not None:
        assert columns.train.label is not None
        label_column = columns.train.columns[columns.train.label]
        return SubmissionFormat(layout.columns[layout.id], label_column), tuple(found), remark
    ids = tuple(str(number) for number in range(1, rows + 1))
    return SubmissionFormat(), ids, remark


def _could_be_ids(found: Sequence[str], sample: Sample | None) -> bool:
    if sample is not None and set(found) & set(sample.ids):
        return True
    return sample is None and len(set(found)) == len(found)


def _require_writable(labels: Sequence[str], source: Source, layout: Layout) -> None:
    """Refuse labels that a submission cannot hold."""
    bad = {label for label in set(labels) if not is_writable(label)}
    if not bad:
        return
    row = next(row for row, label in enumerate(labels) if label in bad)
    assert layout.label is not None
    raise DataError(
        f"{source.name('train')} line {line_of(source, 'train', row, layout.separator)} has the "
        f"label {labels[row]!r} in column {layout.columns[layout.label]!r}, which cannot stand in "
        "a submission: it holds a line break or another control character.",
        mend="Write the label without it, or remove the line.",
    )


def _require_writable_ids(ids: Sequence[str], name: str) -> None:
    bad = next((value for value in ids if not is_writable(value)), None)
    if bad is not None:
        raise DataError(
            f"{name} has the id {bad!r}, which cannot stand in a submission: it holds a line break "
            "or another control character.",
            mend="Write the id without it.",
        )


def _require_known_labels(labels: Sequence[str], source: Source, layout: Layout) -> None:
    """Refuse the few labels that are no whole numbers where nearly all are.

    Classes are read off the file, so that only a label of another kind than the rest can be told
    from a class; a class of very few rows is refused where the folds are made.
    """
    kinds = {label: is_whole_number(label) for label in set(labels)}
    odd = [row for row, label in enumerate(labels) if not kinds[label]]
    if not odd or len(odd) == len(labels):
        return
    few = len(odd) < 0.01 * len(labels) or (len(odd) < 3 and len(odd) < len(labels) / 2)
    first = (
        odd[0] if few else next((row for row in odd if as_number(labels[row]) is not None), None)
    )
    if first is None:
        return
    known = sort_classes(label for label, whole in kinds.items() if whole)
    shown = ", ".join(known) if len(known) <= 10 else f"{known[0]} to {known[-1]}"
    assert layout.label is not None
    raise DataError(
        f"{source.name('train')} line {line_of(source, 'train', first, layout.separator)} has the "
        f"unknown label {labels[first]!r} in column {layout.columns[layout.label]!r}; expected one "
        f"of the others' kind: {shown}.",
        mend="Correct the label, or remove the line.",
    )


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
