"""The labels that a test file carries: never read with the data, only where they are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.core.data.columns import LABEL_NAMES, Header, arrange_one, read_header
from kaggle_digits.core.data.source import Source, find, open_packed
from kaggle_digits.core.data.table import read_table
from kaggle_digits.ground.errors import DataError
from kaggle_digits.ground.filenames import is_table

if TYPE_CHECKING:
    from kaggle_digits.core.data.dataset import Dataset


def labels_of_test(path: Path, dataset: Dataset) -> dict[str, str] | None:
    """Return the label of each test id from a test file that has labels beside its pixels.

    Args:
        path: The file, or the folder or zip it lies in.
        dataset: The data it must be the test file of.

    Returns:
        None where the path is a plain file of two columns.

    Raises:
        DataError: The file has no labels, is broken, or its images are not the data's.
    """
    if path.is_dir() or (path.suffix.lower() == ".zip" and not is_table(path.name)):
        source = find(path)
    elif is_table(path.name) and path.is_file():
        source = Source(path.parent, {"test": path.name}, (), lambda name: open_packed(path))
    else:
        return None
    name = source.name("test")
    with source.open("test") as stream:
        header = read_header(stream, name)
    if len(header.columns) == 2 and not path.is_dir():
        return None
    competition = dataset.competition
    label = _label_column(header, competition.form.label_column, name)
    layout, _ = arrange_one(header, name, competition.shape, competition.form.label_column)
    table = read_table(source, "test", replace(layout, label=header.columns.index(label)))
    images = dataset.test_images
    scaled = table.images * np.uint8(255) if table.scale == "binary" else table.images
    if not (np.array_equal(table.images, images) or np.array_equal(scaled, images)):
        raise DataError(
            f"{path} has other images than the test file of {dataset.name}; its labels say nothing "
            "of these.",
            mend="Give the labels of the data's own test images.",
        )
    assert table.labels is not None
    return dict(zip(dataset.test_ids, table.labels, strict=True))


def _label_column(header: Header, hint: str, name: str) -> str:
    wanted = LABEL_NAMES | {hint.casefold()}
    found = [column for column in header.columns if column.casefold() in wanted]
    if len(found) != 1:
        raise DataError(
            f"{name} has {len(found) or 'no'} label column{'s' if len(found) > 1 else ''} beside "
            "the pixels; expected one.",
            mend="Give a CSV of two columns, id and label, with every test id.",
        )
    return found[0]
