"""Corrected labels: what a file of them says, and what becomes of data and workspace."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from kaggle_digits.core.data import Dataset, load
from kaggle_digits.core.data.fixes import read_fixes
from kaggle_digits.core.folds import make_folds
from kaggle_digits.ground.errors import ArtefactError, DataError
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.shapes import ImageShape
from kaggle_digits.ground.wanted import Wanted


@pytest.fixture
def fixes(tmp_path):
    """Write a file of corrections; gives its path."""

    def fixes(*lines: str, name: str = "fixes.csv", header: str = "row,label,take"):
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    return fixes


# Rows 0, 1, 2, 3 … have the labels 0, 1, 2, 0 …


def test_rows_take_other_labels_and_are_left_out(made, workspace, fixes) -> None:
    plain = load(made.folder, workspace)
    path = fixes("4,1,2", "2,2,exclude", "7,1,", "9,0,0")
    told: list[str] = []
    dataset = load(made.folder, workspace, told.append, labels=path)
    assert np.flatnonzero(dataset.labels != plain.labels).tolist() == [4]
    assert dataset.labels[4] == 2 and dataset.left_out.tolist() == [2]
    assert dataset.kept.tolist() == [row for row in range(30) if row != 2]
    assert np.array_equal(dataset.given_labels, plain.labels)
    assert dataset.digest != plain.digest and not dataset.labels.flags.writeable
    assert f"labels: {path} (digest {dataset.fixes.digest}: 1 corrected, 1 row left out)" in told
    # The images are those of the cache, not copies.
    assert dataset.images.filename == plain.images.filename


def test_numbers_and_formulas_mean_their_classes(make, fixes) -> None:
    classes = ("5.0", "=1+1", "word", "exclude")
    labels = np.arange(8) % 4
    path = fixes("0,5,'=1+1", "1,'=1+1,5", "2,word,exclude")
    found = read_fixes(path, labels, classes)
    # Where a class has the name, it is the class.
    assert [one.take for one in found.changes] == ["=1+1", "5.0", "exclude"]
    again = read_fixes(fixes(*found.to_csv().decode().splitlines()[1:]), labels, classes)
    assert again == found


def test_a_table_as_a_spreadsheet_writes_it(made, fixes) -> None:
    labels = np.arange(30) % 3
    path = fixes("1;;2;a remark", ";;;", header="Row;label;Take ;why")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    (one,) = read_fixes(path, labels, ("0", "1", "2")).changes
    assert (one.row, one.label, one.take) == (1, "1", "2")


@pytest.mark.parametrize(
    ("lines", "says", "mend"),
    [
        (["30,,1"], "line 2 has the row '30'; expected a whole number from 0", "report gives"),
        (["-1,,1"], "the row '-1'", "report"),
        (["1,,2", "1,,0"], "line 3 has row 1, which line 2 has already", "Remove one"),
        (["1,0,2"], "row 1 has the label '0'; train.csv says '1'", "anew"),
        (["1,,7"], "takes the label '7', which is no class", "Known are"),
        (["1,,exlude"], "'exlude'", "Did you mean 'exclude'"),
        (["1,2"], "line 2 has 2 fields; expected 3", "Mend"),
    ],
)
def test_a_line_that_is_no_correction_is_named(made, fixes, lines, says, mend) -> None:
    with pytest.raises(DataError) as caught:
        read_fixes(fixes(*lines), np.arange(30) % 3, ("0", "1", "2"))
    assert says in caught.value.message and "fixes.csv" in caught.value.message
    assert mend in (caught.value.mend or "")


def test_a_file_of_another_form_is_named(fixes, tmp_path) -> None:
    labels, classes = np.arange(3), ("0", "1", "2")
    with pytest.raises(DataError, match="has the columns row, suggested; expected row and take"):
        read_fixes(fixes(header="row,suggested"), labels, classes)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_fixes(tmp_path / "none.csv", labels, classes)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_fixes(binary, labels, classes)


def test_a_file_that_changes_nothing_is_no_other_data(made, workspace, fixes) -> None:
    told: list[str] = []
    plain = load(made.folder, workspace)
    dataset = load(made.folder, workspace, told.append, labels=fixes("1,1,", "2,2,2"))
    assert dataset.digest == plain.digest and dataset.fixes is None
    assert any("changes nothing" in text for text in told)


def test_corrections_travel_to_other_processes_and_machines(made, workspace, fixes) -> None:
    dataset = load(made.folder, workspace, labels=fixes("4,1,2", "2,2,exclude"))
    for other in (
        pickle.loads(pickle.dumps(dataset)),
        Dataset.unpacked(pickle.loads(pickle.dumps(dataset.packed()))),
    ):
        assert other.digest == dataset.digest and other.fixes == dataset.fixes
        assert np.array_equal(other.labels, dataset.labels)
        assert other.left_out.tolist() == [2]


# --- folds


def test_rows_keep_their_folds_and_those_left_out_are_in_none(make, workspace, fixes) -> None:
    folder = make(rows=120).folder
    before = make_folds(load(folder, workspace), 4, 0, workspace)
    dataset = load(folder, workspace, labels=fixes("4,1,2", "2,2,exclude", "50,2,0"))
    after = make_folds(dataset, 4, 0, workspace)
    assert np.flatnonzero(before.of_row != after.of_row).tolist() == [2]
    for fold in range(4):
        assert 2 not in after.training_rows(fold) and 2 not in after.held_out_rows(fold)
    assert 2 not in after.training_rows(None) and len(after.judged_rows) == 119
    # And read back.
    assert make_folds(dataset, 4, 0, workspace).digest == after.digest != before.digest


def test_folds_are_drawn_anew_where_one_would_lack_a_class(make, workspace, fixes) -> None:
    made = make(rows=30)
    plain = load(made.folder, workspace)
    before = make_folds(plain, 3, 0, workspace)
    # Of the ten rows of class 0, only those of one fold stay.
    gone = [row for row in np.flatnonzero(plain.labels == 0) if before.of_row[row] != 1]
    dataset = load(made.folder, workspace, labels=fixes(*(f"{row},0,exclude" for row in gone)))
    after = make_folds(dataset, 3, 0, workspace)
    for fold in range(3):
        rows = after.held_out_rows(fold)
        assert set(dataset.labels[rows]) == {0, 1, 2} and not np.isin(rows, gone).any()


def test_a_class_that_is_left_out_as_a_whole_is_refused_for_its_rows(made, workspace, fixes):
    lines = (f"{row},0,exclude" for row in range(0, 30, 3))
    dataset = load(made.folder, workspace, labels=fixes(*lines))
    with pytest.raises(DataError, match=r"'0' \(0\)"):
        make_folds(dataset, 3, 0, workspace)


# --- the workspace knows its labels


def works(workspace) -> None:
    """Leave what a search leaves."""
    write_json(workspace.tuning / "best.json", {})


def test_a_workspace_goes_on_with_its_own_labels_and_says_so(made, workspace, fixes) -> None:
    path = fixes("4,1,2")
    first = load(made.folder, workspace, labels=path)
    works(workspace)
    path.unlink()
    told: list[str] = []
    again = load(None, workspace, told.append)
    assert again.digest == first.digest and again.labels[4] == 2
    said = f"going on with this workspace's own labels, {path} (digest {first.fixes.digest}: 1"
    assert any(text.startswith(said) for text in told)


def test_the_same_corrections_in_another_file_are_the_same(made, workspace, fixes) -> None:
    first = load(made.folder, workspace, labels=fixes("4,1,2", "2,,exclude"))
    works(workspace)
    again = load(None, workspace, labels=fixes("2,2,exclude", "4,1,2", name="other.csv"))
    assert again.digest == first.digest and again.fixes.name == first.fixes.name


@pytest.mark.parametrize("lines", [["4,1,0"], ["4,1,1"]])
def test_other_labels_are_refused_with_both_named(made, workspace, fixes, lines) -> None:
    path = fixes("4,1,2")
    load(made.folder, workspace, labels=path)
    works(workspace)
    with pytest.raises(ArtefactError) as caught:
        load(None, workspace, labels=fixes(*lines, name="other.csv"))
    message = caught.value.message
    assert f"labels of {path} (digest" in message and "is other data" in message
    assert ("other.csv" in message) == (lines == ["4,1,0"])
    assert "--labels" in (caught.value.mend or "")
    assert load(None, workspace).labels[4] == 2


def test_corrections_do_not_come_into_a_workspace_made_without(made, workspace, fixes) -> None:
    plain = load(made.folder, workspace)
    works(workspace)
    path = fixes("4,1,2")
    with pytest.raises(ArtefactError, match=r"labels of .*fixes.csv .* is other data"):
        load(made.folder, workspace, labels=path)
    assert load(None, workspace).digest == plain.digest


def test_before_anything_was_made_other_labels_are_taken(made, workspace, fixes) -> None:
    load(made.folder, workspace, labels=fixes("4,1,2"))
    second = load(made.folder, workspace, labels=fixes("4,1,0"))
    assert load(None, workspace).digest == second.digest


def test_other_data_are_not_corrected_by_what_was_known(make, workspace, fixes) -> None:
    one, two = make("letters"), make("figures", rows=33)
    load(one.folder, workspace, labels=fixes("4,1,2"))
    assert load(two.folder, workspace).fixes is None


def test_files_that_have_changed_are_named_as_such_with_corrections_too(made, workspace, fixes):
    load(made.folder, workspace, labels=fixes("4,1,2"))
    works(workspace)
    made.set("train.csv", 2, 3, "1")
    with pytest.raises(ArtefactError, match="have changed since"):
        load(None, workspace)
    with pytest.raises(ArtefactError, match="is other data"):
        load(None, workspace, wanted=Wanted(shape=ImageShape(2, 8)))


@pytest.mark.parametrize(
    "labels",
    [[], {}, {"name": "x"}, {"name": "x", "changes": [[1, "1"]]},
     {"name": "x", "changes": [[-1, "1", None]]}, {"name": "x", "changes": [[True, "1", None]]}],
)  # fmt: skip
def test_a_record_of_another_form_is_named(made, workspace, fixes, labels) -> None:
    load(made.folder, workspace, labels=fixes("4,1,2"))
    path = workspace.root / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": labels}))
    with pytest.raises(ArtefactError, match=r"data\.json"):
        load(made.folder, workspace)
