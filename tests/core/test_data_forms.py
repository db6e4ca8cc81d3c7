"""Competitions that are right, in all the forms they may come in."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.core.data import Dataset, load
from kaggle_digits.core.data import dataset as dataset_module
from kaggle_digits.ground.competition import SubmissionFormat


def assert_same(dataset: Dataset, made) -> None:
    """The dataset holds exactly what was written."""
    shape = (made.height, made.width)
    np.testing.assert_array_equal(dataset.images, made.images.reshape(-1, *shape))
    np.testing.assert_array_equal(dataset.test_images, made.test_images.reshape(-1, *shape))
    assert [dataset.competition.classes[index] for index in dataset.labels] == made.labels
    assert (dataset.competition.height, dataset.competition.width) == shape


def test_default_form(made, workspace):
    dataset = load(made.folder, workspace)
    assert_same(dataset, made)
    assert dataset.images.dtype == dataset.test_images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64
    assert dataset.competition.classes == ("0", "1", "2")
    assert dataset.competition.form == SubmissionFormat("ImageId", "Label", "\r\n", True, False)
    assert dataset.test_ids == tuple(str(number) for number in range(1, 13))
    assert dataset.name == str(made.folder)
    assert dataset.truth is None
    assert len(dataset.digest) == 16 and int(dataset.digest, 16) >= 0


def test_arrays_are_read_only_memory_maps(made, workspace):
    dataset = load(made.folder, workspace)
    for array in (dataset.images, dataset.test_images):
        assert isinstance(array, np.memmap)
    for array in (dataset.images, dataset.test_images, dataset.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_zip_and_folder_have_one_digest(made, workspace, tmp_path):
    made.sample([str(number) for number in range(1, 13)])
    folder = load(made.folder, workspace)
    packed = load(made.zipped(tmp_path / "a.zip"), workspace)
    nested = load(made.zipped(tmp_path / "b.zip", inside="some/folder/"), workspace)
    assert folder.digest == packed.digest == nested.digest
    assert packed.name == str(tmp_path / "a.zip")
    assert_same(packed, made)
    assert_same(nested, made)


def test_disordered_columns_are_put_in_order(make, workspace):
    plain, mixed = make("plain"), make("mixed")
    order = np.random.RandomState(1).permutation(17)
    assert list(order) != sorted(order) and order[0] != 0
    mixed.move_columns("train.csv", list(order))
    mixed.move_columns("test.csv", list(np.random.RandomState(2).permutation(16)))
    dataset = load(mixed.folder, workspace)
    assert_same(dataset, plain)
    assert dataset.digest == load(plain.folder, workspace).digest


@pytest.mark.parametrize(
    ("height", "width", "pixel"),
    [
        (4, 4, "p{}".format),
        (4, 4, "{}".format),
        (4, 4, "pixel_v2_{}".format),
        (4, 4, lambda number: f"pixel{number + 1}"),
        (4, 4, lambda number: f"{number // 4 + 1}x{number % 4 + 1}"),
        (3, 5, lambda number: f"r{number // 5}c{number % 5}"),
        (12, 12, lambda number: f"{number // 12 + 1}x{number % 12 + 1}"),
        (4, 4, "pix {:03d}".format),
        (1, 1, "pixel{}".format),
    ],
)
def test_pixel_names(make, workspace, height, width, pixel):
    made = make(height=height, width=width, pixel=pixel)
    made.move_columns("train.csv", list(range(height * width, -1, -1)))
    assert_same(load(made.folder, workspace), made)


def test_letters(make, workspace):
    made = make(height=28, width=28, classes=string.ascii_uppercase, rows=78)
    dataset = load(made.folder, workspace)
    assert dataset.competition.classes == tuple(string.ascii_uppercase)
    assert_same(dataset, made)


def test_32_by_32(make, workspace):
    made = make(height=32, width=32)
    dataset = load(made.folder, workspace)
    assert dataset.images.shape == (30, 32, 32)
    assert_same(dataset, made)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("10", "9", "-1"), ("-1", "9", "10")),
        (("5", "7", "100"), ("5", "7", "100")),
        (("NAN?", "Null1", "na-na"), ("NAN?", "Null1", "na-na")),
        (("1.5", "2.5", "3.5"), ("1.5", "2.5", "3.5")),
        (("1.0", "10.0", "2.0"), ("1.0", "2.0", "10.0")),
        (("2.5", "-1.5", "-10.5"), ("-10.5", "-1.5", "2.5")),
        (("1e1", "0.50", ".5"), (".5", "0.50", "1e1")),
        (("1_10", "1_2", "2_1"), ("1_10", "1_2", "2_1")),
        (("cat", "7", "dog"), ("7", "cat", "dog")),
        (("True", "False", "Maybe"), ("False", "Maybe", "True")),
    ],
)
def test_labels_need_not_count_from_0(make, workspace, labels, classes):
    made = make(classes=labels)
    dataset = load(made.folder, workspace)
    assert dataset.competition.classes == classes
    assert_same(dataset, made)


def test_labels_are_stripped_and_quotes_understood(made, workspace):
    made.set("train.csv", 2, 0, " 0 ")
    made.set("train.csv", 3, 0, '"1"')
    made.set("train.csv", 3, 1, f'"{made.images[1, 0]}"')
    assert_same(load(made.folder, workspace), made)


def test_ids_from_0_and_named_ones_come_from_the_sample(make, workspace):
    made = make()
    made.sample([str(number) for number in range(12)])
    from_0 = load(made.folder, workspace)
    assert from_0.test_ids == tuple(str(number) for number in range(12))
    named = [f"image {letter}" for letter in "lkjihgfedcba"]
    made.sample(named, header=("id", "letter"))
    dataset = load(made.folder, workspace)
    assert dataset.test_ids == tuple(named)
    assert dataset.competition.form == SubmissionFormat("id", "letter", "\n", True, False)
    assert dataset.digest != from_0.digest


def test_id_column_of_test_stands_in_for_a_sample(make, workspace):
    ids = [f"t{number}" for number in range(12)]
    made = make(ids=ids, id_column="key", label_column="digit")
    dataset = load(made.folder, workspace)
    assert dataset.test_ids == tuple(ids)
    assert (dataset.competition.form.id_column, dataset.competition.form.label_column) == (
        "key",
        "digit",
    )
    assert_same(dataset, made)


def test_id_column_in_both_files(make, workspace):
    ids = [f"t{number}" for number in range(12)]
    made = make(ids=ids, id_column="id")
    rows = made.rows_of("train.csv")
    made.write("train.csv", [[*row, "id" if n == 0 else f"r{n}"] for n, row in enumerate(rows)])
    made.sample(ids, header=("id", "label"))
    dataset = load(made.folder, workspace)
    assert dataset.test_ids == tuple(ids)
    assert_same(dataset, made)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["none", "one", "blank lines"])
def test_line_ends(made, workspace, newline, mark, end):
    digest = load(made.folder, workspace).digest
    for name in ("train.csv", "test.csv"):
        content = (made.folder / name).read_bytes().rstrip(b"\n").replace(b"\n", newline)
        tail = {"none": b"", "one": newline, "blank lines": newline * 3}[end]
        (made.folder / name).write_bytes(mark + content + tail)
    dataset = load(made.folder, workspace)
    assert_same(dataset, made)
    assert dataset.digest == digest


def test_more_rows_than_the_parser_takes_at_once(make, workspace, monkeypatch):
    monkeypatch.setattr("kaggle_digits.core.data.table._CHUNK", 7)
    made = make(rows=45)
    assert_same(load(made.folder, workspace), made)


def test_files_are_found_by_what_their_names_contain(made, workspace):
    made.sample([f"s{number}" for number in range(12)])
    for old, new in [
        ("train.csv", "letters_train.CSV"),
        ("test.csv", "letters-Test.csv"),
        ("sample_submission.csv", "SampleSubmission.csv"),
    ]:
        (made.folder / old).rename(made.folder / new)
    (made.folder / ".train.csv").write_text("hidden")
    (made.folder / "train.txt").write_text("no table")
    dataset = load(made.folder, workspace)
    assert_same(dataset, made)
    assert dataset.test_ids[0] == "s0"


def test_usual_name_wins(made, workspace):
    (made.folder / "train_extra.csv").write_text("other")
    (made.folder / "train.csv").rename(made.folder / "Train.csv")
    assert_same(load(made.folder, workspace), made)


def test_files_macos_adds_to_a_zip_are_passed_over(made, workspace, tmp_path):
    import zipfile

    path = made.zipped(tmp_path / "a.zip", inside="digits/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/digits/._train.csv", "x")
        archive.writestr("__MACOSX/train.csv", "x")
    assert_same(load(path, workspace), made)


def test_default_is_the_data_folder(make, workspace, tmp_path, monkeypatch):
    made = make("data")
    monkeypatch.chdir(tmp_path)
    dataset = load(None, workspace)
    assert dataset.name == "data"
    assert dataset.truth is None
    assert_same(dataset, made)


def test_progress_is_told(made, workspace):
    told: list[str] = []
    load(made.folder, workspace, told.append)
    assert told == [
        "reading train.csv",
        "reading test.csv",
        "16 pixels are read as 4×4, height × width; --image-shape gives another shape, such as 2x8",
    ]


REAL = Path(__file__).parents[3] / "shared" / "data" / "digit-recognizer.zip"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason=f"the competition's own zip is not at {REAL}")
def test_digit_recognizer(workspace, monkeypatch):
    dataset = load(REAL, workspace)
    assert dataset.images.shape == (42_000, 28, 28)
    assert dataset.test_images.shape == (28_000, 28, 28)
    assert dataset.competition.classes == tuple("0123456789")
    assert dataset.competition.form == SubmissionFormat()
    assert dataset.test_ids[0] == "1" and dataset.test_ids[-1] == "28000"
    # Counted with awk on the file: the first image, and how often each digit occurs.
    assert dataset.labels[:10].tolist() == [1, 0, 1, 4, 0, 0, 7, 3, 5, 3]
    counts = [4132, 4684, 4177, 4351, 4072, 3795, 4137, 4401, 4063, 4188]
    assert np.bincount(dataset.labels).tolist() == counts
    assert dataset.images[0, 4, 20] == 188
    monkeypatch.setattr(dataset_module, "read_competition", None)
    again = load(REAL, workspace)
    assert again.digest == dataset.digest
