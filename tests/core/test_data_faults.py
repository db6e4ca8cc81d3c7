"""Every way in which a competition's tables can be wrong has its own message."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.ground.errors import DataError


def refused(path, workspace, *parts: str) -> str:
    """Loading raises a DataError whose message has all the parts; nothing is left in the cache."""
    with pytest.raises(DataError) as caught:
        load(path, workspace)
    for part in parts:
        assert part in caught.value.message
    left = [] if not workspace.cache.exists() else list(workspace.cache.rglob("*.npy"))
    assert left == []
    return caught.value.mend or ""


@pytest.fixture(params=[5000, 4], ids=["one chunk", "several chunks"])
def chunk(request, monkeypatch):
    """The parser takes the file at once, or in several pieces."""
    monkeypatch.setattr("kaggle_digits.core.data.table._CHUNK", request.param)


@pytest.mark.parametrize("line", [2, 17, 31])
@pytest.mark.parametrize("column", [1, 16])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("3.5", "holds '3.5'; expected a whole number from 0 to 255"),
        ("x", "holds 'x'; expected a whole number"),
        ("True", "holds 'True'; expected a whole number"),
        ("1_0", "holds '1_0'; expected a whole number"),
        ("0x1f", "holds '0x1f'; expected a whole number"),
        ("", "has no value (it holds '')"),
        ("NaN", "has no value (it holds 'NaN')"),
        ("nan", "has no value (it holds 'nan')"),
        ("NA", "has no value (it holds 'NA')"),
        ("inf", "holds 'inf'; expected a whole number"),
        ("256", "holds '256', which is out of range; expected a whole number from 0 to 255"),
        ("-1", "holds '-1', which is out of range"),
        ("65536", "holds '65536', which is out of range"),
        ("4294967296", "holds '4294967296', which is out of range"),
        ("18446744073709551617", "holds '18446744073709551617', which is out of range"),
        ("9" * 5000, f"holds '{'9' * 40}…', which is out of range"),
    ],
)
def test_pixel_that_is_none(made, workspace, chunk, line, column, value, says):
    made.set("train.csv", line, column, value)
    refused(made.folder, workspace, f"train.csv line {line}, column 'pixel{column - 1}' {says}")


@pytest.mark.parametrize("value", ["True", "", "nan", "0.5", "256"])
def test_a_whole_column_that_is_no_pixel(made, workspace, value):
    for line in range(2, 14):
        made.set("test.csv", line, 3, value)
    refused(made.folder, workspace, "test.csv line 2, column 'pixel3'", repr(value))


def test_all_pixels_true_or_false(made, workspace):
    rows = made.rows_of("train.csv")
    made.write("train.csv", [rows[0], *([row[0], *["True"] * 16] for row in rows[1:])])
    refused(made.folder, workspace, "train.csv line 2, column 'pixel0' holds 'True'")


def test_first_fault_is_named_in_the_files_own_columns(made, workspace):
    order = list(range(16, -1, -1))
    made.move_columns("train.csv", order)
    made.set("train.csv", 9, order.index(16), "y")
    made.set("train.csv", 9, order.index(1), "z")
    made.set("train.csv", 12, 0, "x")
    refused(made.folder, workspace, "train.csv line 9, column 'pixel15' holds 'y'")


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
@pytest.mark.parametrize("line", [2, 3, 6, 13])
@pytest.mark.parametrize("change", [-2, -1, 1, 2])
@pytest.mark.parametrize("filling", ["7", ""])
def test_wrong_row_length(made, workspace, chunk, name, line, change, filling):
    rows = made.rows_of(name)
    row = rows[line - 1]
    expected = len(row)
    rows[line - 1] = row[:change] if change < 0 else row + [filling] * change
    made.write(name, rows)
    refused(
        made.folder,
        workspace,
        f"{name} line {line} has {expected + change} fields; expected {expected}",
    )


def test_all_rows_too_long(made, workspace):
    rows = made.rows_of("train.csv")
    made.write("train.csv", [rows[0], *([*row, "1"] for row in rows[1:])])
    refused(made.folder, workspace, "train.csv line 2 has 18 fields; expected 17")


def test_short_row_where_the_label_is_last(made, workspace):
    made.move_columns("train.csv", [*range(1, 17), 0])
    rows = made.rows_of("train.csv")
    rows[7] = rows[7][:-1]
    made.write("train.csv", rows)
    refused(made.folder, workspace, "train.csv line 8 has 16 fields; expected 17")


def test_line_numbers_count_blank_lines(made, workspace):
    made.set("train.csv", 10, 4, "x")
    lines = (made.folder / "train.csv").read_text().splitlines()
    (made.folder / "train.csv").write_text("\n".join([*lines[:5], "", "", *lines[5:]]))
    refused(made.folder, workspace, "train.csv line 12, column 'pixel3' holds 'x'")


@pytest.mark.parametrize("label", ["", " ", "nan", "NaN", "NA", "null"])
def test_missing_label(made, workspace, chunk, label):
    made.set("train.csv", 17, 0, label)
    mend = refused(made.folder, workspace, "train.csv line 17 has no label", repr(label), "'label'")
    assert "label" in mend


def test_all_labels_missing(made, workspace):
    for line in range(2, 32):
        made.set("train.csv", line, 0, "")
    refused(made.folder, workspace, "train.csv line 2 has no label")


@pytest.mark.parametrize("label", ["x", "O", "2.5", "-"])
def test_unknown_label(made, workspace, label):
    made.set("train.csv", 17, 0, label)
    refused(
        made.folder,
        workspace,
        f"train.csv line 17 has the unknown label {label!r}",
        "expected one of the others' kind: 0, 1, 2",
    )


def test_unknown_label_among_many(make, workspace):
    made = make(rows=500)
    for line in (300, 301, 302, 303):
        made.set("train.csv", line, 0, "x")
    refused(made.folder, workspace, "train.csv line 300 has the unknown label 'x'")


def test_unknown_label_after_a_blank_line(made, workspace):
    made.set("train.csv", 10, 0, "x")
    lines = (made.folder / "train.csv").read_text().splitlines()
    (made.folder / "train.csv").write_text("\n".join([*lines[:5], "", *lines[5:]]))
    refused(made.folder, workspace, "train.csv line 11 has the unknown label 'x'")


def test_one_class_only(make, workspace):
    made = make(classes=("5",))
    refused(made.folder, workspace, "train.csv has one class only, '5'")


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "sample_submission.csv"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\r\n  \r\n"])
def test_empty_file(made, workspace, name, content):
    made.sample([str(number) for number in range(1, 13)])
    (made.folder / name).write_bytes(content)
    refused(made.folder, workspace, f"{name} is empty")


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "sample_submission.csv"])
def test_header_without_rows(made, workspace, name):
    made.sample([str(number) for number in range(1, 13)])
    made.write(name, made.rows_of(name)[:1])
    refused(made.folder, workspace, f"{name} is empty")


def test_no_header(made, workspace):
    made.set("train.csv", 2, 1, "0")
    made.write("train.csv", made.rows_of("train.csv")[1:])
    refused(made.folder, workspace, "train.csv has no header: line 1 is numbers")


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ([5], "missing pixel columns pixel5; expected all 16 of 4×4"),
        ([5, 9], "missing pixel columns pixel5, pixel9;"),
        ([1, 2, 3, 5, 9, 14], "missing pixel columns pixel1, pixel2, pixel3 (+3 more);"),
        ([0], "missing pixel columns pixel0;"),
        ([15], "has 15 pixel columns, pixel0 to pixel14; expected a square number, such as 16"),
    ],
)
def test_missing_pixel_columns(made, workspace, gone, says):
    kept = [number for number in range(16) if number not in gone]
    made.move_columns("train.csv", [0, *(number + 1 for number in kept)])
    made.move_columns("test.csv", kept)
    refused(made.folder, workspace, "train.csv has", says)


def test_missing_pixel_of_rows_and_columns(make, workspace):
    made = make(pixel=lambda number: f"{number // 4 + 1}x{number % 4 + 1}")
    made.move_columns("train.csv", [number for number in range(17) if number != 6])
    refused(made.folder, workspace, "train.csv has missing pixel columns 2x2; expected all 16")


def test_far_too_many_pixels(made, workspace):
    rows = made.rows_of("train.csv")
    rows[0][16] = "pixel999999999"
    made.write("train.csv", rows)
    refused(made.folder, workspace, "train.csv has pixel columns numbered", "1,000,000,000 pixels")


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
def test_doubled_columns(made, workspace, name):
    rows = made.rows_of(name)
    rows[0][7] = rows[0][5]
    made.write(name, rows)
    refused(made.folder, workspace, f"{name} has doubled columns: {rows[0][5]}")


def test_one_pixel_under_two_names(made, workspace):
    rows = made.rows_of("train.csv")
    rows[0][7] = "pixel03"
    made.write("train.csv", rows)
    refused(made.folder, workspace, "doubled pixel columns: pixel3 and pixel03 are the same")


def test_column_without_a_name(made, workspace):
    made.write("train.csv", [[*row, ""] for row in made.rows_of("train.csv")])
    refused(made.folder, workspace, "train.csv has a column without a name, number 18 of 18")


def test_no_pixel_columns(made, workspace):
    made.write("train.csv", [["name", "age"], ["a", "1"]])
    refused(made.folder, workspace, "train.csv has no pixel columns", "found name, age")


def test_no_label_column(made, workspace):
    made.move_columns("train.csv", list(range(1, 17)))
    refused(made.folder, workspace, "train.csv has no label column beside the pixels; expected one")


def test_two_label_columns(made, workspace):
    rows = made.rows_of("train.csv")
    rows[0][0] = "sort"
    made.write("train.csv", [[*row, "kind" if n == 0 else "1"] for n, row in enumerate(rows)])
    refused(made.folder, workspace, "train.csv has 2 label columns (sort, kind)")


def test_two_id_columns_in_test(made, workspace):
    rows = made.rows_of("test.csv")
    made.write(
        "test.csv",
        [[f"{w}{n}" if n else w for w in ("id", "ImageId")] + row for n, row in enumerate(rows)],
    )
    refused(made.folder, workspace, "test.csv has 2 columns (id, ImageId) beside the pixels")


def test_test_has_other_pixel_columns(made, workspace):
    made.move_columns("test.csv", [number for number in range(16) if number not in (3, 8)])
    refused(
        made.folder,
        workspace,
        "test.csv has other pixel columns than train.csv: it lacks pixel3, pixel8.",
    )


def test_test_has_one_pixel_more(made, workspace):
    rows = made.rows_of("test.csv")
    made.write("test.csv", [[*row, "pixel16" if n == 0 else "1"] for n, row in enumerate(rows)])
    refused(made.folder, workspace, "it has pixel16, which train.csv has not")


def test_test_has_other_pixel_names(made, workspace):
    rows = made.rows_of("test.csv")
    made.write("test.csv", [[f"px{n}" for n in range(16)], *rows[1:]])
    refused(made.folder, workspace, "test.csv has other pixel columns", "pixel0, pixel1, pixel2 (+")


@pytest.mark.parametrize(
    ("line", "given", "says"),
    [
        (5, "t0", "test.csv has the id 't0' twice, in lines 2 and 5"),
        (4, "", "test.csv line 4 has no id"),
    ],
)
def test_ids_of_test(make, workspace, line, given, says):
    made = make(ids=[f"t{number}" for number in range(12)], id_column="id")
    made.set("test.csv", line, 0, given)
    refused(made.folder, workspace, says)


def test_ids_of_train_doubled(make, workspace):
    made = make(ids=[f"t{number}" for number in range(12)], id_column="id")
    rows = made.rows_of("train.csv")
    made.write("train.csv", [["id" if n == 0 else f"r{n % 9}", *row] for n, row in enumerate(rows)])
    refused(made.folder, workspace, "train.csv has the id 'r1' twice, in lines 2 and 11")


def test_ids_of_the_sample_doubled(made, workspace):
    made.sample([*"abcdefghijk", "c"])
    refused(made.folder, workspace, "sample_submission.csv has the id 'c' twice, in lines 4 and 13")


def test_sample_of_another_length(made, workspace):
    made.sample(list("abcdefghijk"))
    refused(made.folder, workspace, "sample_submission.csv has 11 ids, test.csv has 12 rows")


def test_sample_of_other_columns(made, workspace):
    made.write("sample_submission.csv", [["a", "b", "c"], ["1", "2", "3"]])
    refused(made.folder, workspace, "sample_submission.csv line 1 has 3 fields; expected 2")


def test_sample_in_another_order_than_test(make, workspace):
    ids = [f"t{number}" for number in range(12)]
    made = make(ids=ids, id_column="id")
    made.sample([ids[0], ids[2], ids[1], *ids[3:]])
    refused(
        made.folder,
        workspace,
        "sample_submission.csv line 3 has the id 't2' where test.csv has 't1'",
    )


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
def test_utf_16(made, workspace, name):
    text = (made.folder / name).read_text()
    (made.folder / name).write_bytes(text.encode("utf-16"))
    refused(made.folder, workspace, f"{name} is not UTF-8 text")


def test_label_that_is_not_utf_8(make, workspace):
    made = make(classes=("a", "é", "z"))
    content = (made.folder / "train.csv").read_text(encoding="utf-8")
    (made.folder / "train.csv").write_bytes(content.encode("latin-1"))
    refused(made.folder, workspace, "train.csv line 3, column 'label' is not UTF-8 text")


def test_quotation_mark_that_is_not_closed(make, workspace):
    made = make(rows=9000)
    made.set("train.csv", 17, 4, '"1')
    refused(made.folder, workspace, "train.csv line 17 cannot be read")


def test_binary_content(made, workspace):
    (made.folder / "train.csv").write_bytes(np.random.RandomState(0).bytes(4000))
    with pytest.raises(DataError, match=re.escape("train.csv")):
        load(made.folder, workspace)


def test_the_parsers_own_words_where_no_fault_is_found(made, workspace, monkeypatch):
    def fail(stream, layout):
        raise ValueError("it is odd")

    monkeypatch.setattr("kaggle_digits.core.data.table._read_fast", fail)
    refused(made.folder, workspace, "train.csv cannot be read: it is odd.")
