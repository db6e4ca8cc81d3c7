"""Predictions made elsewhere: what is read, into which order, and what is refused and how."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from ensembles.extra import ExtraFiles, parse_extra, read_extra
from kaggle_digits.core.data import load
from kaggle_digits.ground.errors import ConfigurationError, DataError


@pytest.fixture
def dataset(make, workspace):
    return load(make(classes=("b", "a", "c"), ids=[f"t{n}" for n in range(12)], id_column="id")
                .folder, workspace)  # fmt: skip


@pytest.fixture
def arrays():
    """Out-of-fold and test probabilities, float64 [30, 3] and [12, 3]."""
    random = np.random.default_rng(0)
    made = [random.random((rows, 3)) + 0.1 for rows in (30, 12)]
    return [values / values.sum(axis=1, keepdims=True) for values in made]


@pytest.fixture
def save(tmp_path, arrays):
    """Save both as .npy, one of them replaced; return where they are."""

    def save(oof=None, test=None, name="theirs") -> ExtraFiles:
        files = ExtraFiles(name, tmp_path / "oof.npy", tmp_path / "test.npy")
        for path, values, usual in zip((files.oof, files.test), (oof, test), arrays, strict=True):
            np.save(path, usual if values is None else values)
        return files

    return save


def table(path, values, header, ids=None):
    """Write a CSV file; `ids` come first."""
    lines = [",".join(header)]
    for number, row in enumerate(values):
        fields = [repr(float(value)) for value in row]
        lines.append(",".join(fields if ids is None else [str(ids[number]), *fields]))
    path.write_text("\r\n".join(lines) + "\r\n")
    return path


def test_the_form_of_the_option():
    files = parse_extra("theirs/oof.npy,theirs/test.csv, friend")
    assert (files.name, str(files.oof), str(files.test)) == (
        "friend", "theirs/oof.npy", "theirs/test.csv",
    )  # fmt: skip
    assert parse_extra("resnet.npy,test.npy").name == "resnet"


@pytest.mark.parametrize(
    "text", ["", "a.npy", "a.npy,", ",b.npy", "a.npy,b.npy,c,d", "a.npy,b.npy,"]
)
def test_other_forms_are_refused(text):
    with pytest.raises(ConfigurationError, match="expected --extra OOF,TEST or OOF,TEST,NAME"):
        parse_extra(text)


def test_other_kinds_of_files_are_refused():
    with pytest.raises(ConfigurationError, match=r"names b\.pkl, which ends in '\.pkl'"):
        parse_extra("a.npy,b.pkl")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_are_read(save, dataset, arrays, dtype):
    files = save(*(values.astype(dtype) for values in arrays))
    extra = read_extra(files, dataset)
    assert extra.oof.dtype == extra.test.dtype == np.float32
    np.testing.assert_allclose(extra.oof, arrays[0], atol=1e-3 if dtype == np.float16 else 1e-6)
    np.testing.assert_allclose(extra.test.sum(axis=1), 1, atol=1e-6)
    assert extra.oof_sha256 == hashlib.sha256(files.oof.read_bytes()).hexdigest()
    assert extra.test_sha256 == hashlib.sha256(files.test.read_bytes()).hexdigest()


def test_answers_without_doubt_are_read(save, dataset):
    extra = read_extra(save(np.eye(3, dtype=np.int64)[np.zeros(30, dtype=int)]), dataset)
    assert extra.oof[:, 0].tolist() == [1.0] * 30


def test_columns_of_a_table_go_by_their_names(tmp_path, save, dataset, arrays):
    assert dataset.competition.classes == ("a", "b", "c")
    path = table(tmp_path / "oof.csv", arrays[0][:, [2, 0, 1]], ["c", "a", "b"])
    extra = read_extra(ExtraFiles("x", path, save().test), dataset)
    np.testing.assert_allclose(extra.oof, arrays[0], atol=1e-6)


def test_test_rows_of_a_table_go_by_their_ids(tmp_path, save, dataset, arrays):
    order = np.random.default_rng(1).permutation(12)
    names = [dataset.test_ids[row] for row in order]
    path = table(tmp_path / "test.csv", arrays[1][order], ["id", "a", "b", "c"], names)
    extra = read_extra(ExtraFiles("x", save().oof, path), dataset)
    np.testing.assert_allclose(extra.test, arrays[1], atol=1e-6)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("column", ["", "row"])
def test_training_rows_of_a_table_go_by_their_numbers(
    tmp_path, save, dataset, arrays, first, column
):
    order = np.random.default_rng(2).permutation(30)
    path = table(tmp_path / "o.csv", arrays[0][order], [column, "a", "b", "c"], order + first)
    extra = read_extra(ExtraFiles("x", path, save().test), dataset)
    np.testing.assert_allclose(extra.oof, arrays[0], atol=1e-6)


@pytest.mark.parametrize(
    ("oof", "says"),
    [
        (np.full((29, 3), 1 / 3), r"oof\.npy has shape \(29, 3\); expected \(30, 3\)"),
        (np.full((30, 2), 1 / 2), r"oof\.npy has shape \(30, 2\)"),
        (np.full(30, 1.0), r"oof\.npy has shape \(30,\)"),
        (np.full((30, 3), 1.0), r"oof\.npy row 0 is no probability distribution"),
        (np.full((30, 3), np.nan), r"oof\.npy row 0 is no probability distribution"),
        (np.tile([1.2, -0.1, -0.1], (30, 1)), r"oof\.npy row 0 is no probability distribution"),
        (np.full((30, 3), "x"), r"oof\.npy holds <U1; expected one array of probabilities"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_probabilities_are_refused(save, dataset, oof, says):
    with pytest.raises(DataError, match=says) as caught:
        read_extra(save(oof), dataset)
    assert caught.value.mend


def test_the_second_file_is_checked_too(save, dataset, arrays):
    with pytest.raises(DataError, match=r"test\.npy has shape \(30, 3\); expected \(12, 3\)"):
        read_extra(save(None, arrays[0]), dataset)


def test_files_that_cannot_be_read_are_refused(tmp_path, save, dataset):
    files = save()
    with pytest.raises(DataError, match=r"none\.npy cannot be read: No such file"):
        read_extra(ExtraFiles("x", tmp_path / "none.npy", files.test), dataset)
    files.oof.write_bytes(files.oof.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"oof\.npy is no array as numpy\.save writes it"):
        read_extra(files, dataset)
    np.savez(tmp_path / "both.npz", a=np.zeros(3))
    (tmp_path / "both.npz").rename(files.oof)
    with pytest.raises(DataError, match=r"oof\.npy holds an archive of arrays"):
        read_extra(files, dataset)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"has the columns none; expected one for each class \('a', 'b', 'c'\)"),
        ("0.1,0.2,0.7\n", "has the columns '0.1', '0.2', '0.7'; expected"),
        ("a,b\n0.5,0.5\n", "has the columns 'a', 'b'; expected"),
        ("a,a,b,c\n0.2,0.2,0.3,0.3\n", "has the columns 'a', 'a', 'b', 'c'; expected"),
        ("id,row,a,b,c\n0,0,1,0,0\n", "has the columns 'id', 'row', 'a', 'b', 'c'; expected"),
        ("a,b,c\n1,0,0\n1,0\n", "line 3 has 2 fields; expected 3"),
        ("a,b,c\n1,0,0\n1,0,zero\n", "line 3, column 'c' holds 'zero'; expected a probability"),
        ("a,b,c\n1,0,0\n", r"has shape \(1, 3\); expected \(30, 3\)"),
    ],
)
def test_broken_tables_are_refused(tmp_path, save, dataset, text, says):
    path = tmp_path / "oof.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        read_extra(ExtraFiles("x", path, save().test), dataset)
    assert str(path) in caught.value.message


def test_unknown_and_doubled_ids_are_refused(tmp_path, save, dataset, arrays):
    header, names = ["id", "a", "b", "c"], list(dataset.test_ids)
    path = table(tmp_path / "test.csv", arrays[1], header, [*names[:-1], "t99"])
    files = ExtraFiles("x", save().oof, path)
    with pytest.raises(DataError, match=r"test\.csv has the id 't99'; expected those of the test"):
        read_extra(files, dataset)
    table(path, arrays[1], header, [*names[:-1], names[0]])
    with pytest.raises(DataError, match="has the id 't0' twice, in lines 2 and 13"):
        read_extra(files, dataset)
    oof = table(tmp_path / "oof.csv", arrays[0], header, [*range(29), 30])
    with pytest.raises(DataError, match="has the id '30'; expected 0 to 29, the rows of train"):
        read_extra(ExtraFiles("x", oof, save().test), dataset)
