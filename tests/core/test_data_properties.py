"""The reader on drawn files: what is right is read as it is, all else is refused in words."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_digits.core.data.reading import Parsed, read_competition
from kaggle_digits.core.data.source import find
from kaggle_digits.ground.errors import DataError

SIDE = 2
PIXELS = [f"pixel{number}" for number in range(SIDE * SIDE)]
LABELS = ["cat", "dog", "0"]

images = st.lists(st.integers(0, 255), min_size=4, max_size=4)
tables = st.lists(st.tuples(st.sampled_from(LABELS[:2]), images), min_size=2, max_size=8)
fields = st.one_of(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\r"), max_size=6
    ),  # which csv does not quote
    st.integers(-300, 300).map(str),
    st.sampled_from(["", " 7 ", "+7", "007", "1e2", "3.0", "NaN", '"', '"7"', "\0", "9" * 30, "٣"]),
)


def written(rows: list[list[str]], newline: str = "\n", start: str = "") -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator=newline).writerows(rows)
    return (start + text.getvalue()).encode()


def train_rows(table, order=range(5)) -> list[list[str]]:
    rows = [["label", *PIXELS], *([label, *map(str, image)] for label, image in table)]
    return [[row[column] for column in order] for row in rows]


TEST = written([PIXELS, ["1", "2", "3", "4"], ["5", "6", "7", "8"]])


def parsed(train: bytes, test: bytes = TEST, sample: bytes | None = None) -> Parsed:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.csv").write_bytes(train)
        (Path(folder) / "test.csv").write_bytes(test)
        if sample is not None:
            (Path(folder) / "sample_submission.csv").write_bytes(sample)
        return read_competition(find(Path(folder)), lambda _: None)


@given(
    tables.filter(lambda table: len({label for label, _ in table}) == 2),
    st.permutations(range(5)),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
)
def test_what_was_written_is_read(table, order, newline, start) -> None:
    found = parsed(written(train_rows(table, order), newline, start))
    assert found.competition.classes == ("cat", "dog")
    assert found.images.reshape(len(table), -1).tolist() == [image for _, image in table]
    assert [found.competition.classes[label] for label in found.labels] == [
        label for label, _ in table
    ]
    assert found.test_images.ravel().tolist() == list(range(1, 9))
    assert found.test_ids == ("1", "2")


@given(st.integers(1, 4), st.integers(1, 4), fields)
def test_a_pixel_is_what_it_says_or_is_refused_by_its_line_and_column(line, column, field) -> None:
    rows = train_rows([("cat", [10, 20, 30, 40]), ("dog", [50, 60, 70, 80])] * 2)
    rows[line][column] = field
    try:
        found = parsed(written(rows))
    except DataError as error:
        assert f"train.csv line {line + 1}" in error.message
        assert f"'pixel{column - 1}'" in error.message
        assert not (field.isascii() and field.isdigit() and int(field) <= 255)
    else:
        wanted = np.array([[float(value) for value in row[1:]] for row in rows[1:]])
        assert np.array_equal(found.images.reshape(4, 4), wanted)
        assert 0 <= float(field) <= 255


@given(st.binary(max_size=200), st.sampled_from(["train", "test", "sample"]))
def test_any_bytes_are_read_or_refused_by_the_files_name(content, role) -> None:
    good = written(train_rows([("cat", [1, 2, 3, 4]), ("dog", [5, 6, 7, 8])]))
    files = {"train": good, "test": TEST, "sample": b"ImageId,Label\n1,cat\n2,cat\n"}
    files[role] = content
    name = "sample_submission.csv" if role == "sample" else f"{role}.csv"
    with pytest.raises(DataError) as caught:
        parsed(files["train"], files["test"], files["sample"])
    assert name in caught.value.message


@given(st.data())
def test_a_cut_or_changed_byte_is_read_or_refused(data) -> None:
    good = written(train_rows([("cat", [10, 200, 30, 40]), ("dog", [5, 6, 7, 8])]))
    place = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.binary(max_size=3))
    try:
        found = parsed(good[:place] + other + good[place + 1 :])
    except DataError as error:
        assert "train.csv" in error.message
    else:
        assert found.images.shape[1:] == (2, 2) and len(found.images) == len(found.labels)
