"""Files in the forms that are out there: all of them mean what the plain files mean."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ensembles.configurations import read_config
from kaggle_digits.core.data import Dataset, load
from kaggle_digits.ground.errors import DataError, shorten
from kaggle_digits.ground.filenames import choose_files
from kaggle_digits.ground.workspace import Workspace
from submissions.scoreboard import find_truth
from tuning.narrowing import read_space

IDS = [str(number) for number in range(1, 13)]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Path], tuple[Dataset, list[str]]]:
    """Load a path in a workspace of its own; the data, and what was said beside the reading."""

    def read(path: Path) -> tuple[Dataset, list[str]]:
        told: list[str] = []
        place = tmp_path / f"workspace {len(list(tmp_path.iterdir()))}"
        dataset = load(path, Workspace(place), told.append)
        return dataset, [text for text in told if not text.startswith(("reading", "16 pixels"))]

    return read


def packed(source: Path, target: Path, kind: str) -> None:
    """Pack one file as `kind` says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".gz":
        target.with_name(target.name + kind).write_bytes(gzip.compress(source.read_bytes()))
    elif kind == ".zip":
        with zipfile.ZipFile(target.with_name(target.name + kind), "w") as archive:
            archive.write(source, source.name)
            archive.writestr("__MACOSX/._" + source.name, b"\x00\x05\x16\x07")
    else:
        shutil.copy(source, target)


def zipped(folder: Path, target: Path) -> Path:
    """Pack a folder with all below it."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return target


@pytest.mark.parametrize("outer", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("kind", [".gz", ".zip"])
def test_tables_packed_one_by_one_beside_the_sample(made, read, tmp_path, kind, outer) -> None:
    made.sample(IDS)
    wanted, _ = read(made.folder)
    place = tmp_path / "packed"
    for name in ("train.csv", "test.csv"):
        packed(made.folder / name, place / name, kind)
    shutil.copy(made.folder / "sample_submission.csv", place)
    dataset, _ = read(zipped(place, tmp_path / "all.zip") if outer else place)
    assert dataset.digest == wanted.digest
    np.testing.assert_array_equal(dataset.images, wanted.images)


@pytest.mark.parametrize("outer", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("kind", ["", ".gz", ".zip"])
def test_tables_in_sub_folders_of_their_own(made, read, tmp_path, kind, outer) -> None:
    wanted, _ = read(made.folder)
    place = tmp_path / "split"
    for name in ("train", "test"):
        packed(made.folder / f"{name}.csv", place / f"sign_{name}" / f"sign_{name}.csv", kind)
    dataset, _ = read(zipped(place, tmp_path / "all.zip") if outer else place)
    assert dataset.digest == wanted.digest


def test_a_zip_named_train_that_holds_the_table(made, read, tmp_path) -> None:
    wanted, _ = read(made.folder)
    place = tmp_path / "older"
    place.mkdir()
    for name in ("train", "test"):
        with zipfile.ZipFile(place / f"{name}.zip", "w") as archive:
            archive.write(made.folder / f"{name}.csv", f"{name}.csv")
    assert read(place)[0].digest == wanted.digest


def test_an_unpacked_table_beside_its_packed_self_is_one_file(made, read) -> None:
    wanted, _ = read(made.folder)
    packed(made.folder / "train.csv", made.folder / "train.csv", ".zip")
    assert read(made.folder)[0].digest == wanted.digest


def test_sub_folders_are_not_looked_at_where_both_tables_lie_on_top(made, read) -> None:
    wanted, _ = read(made.folder)
    (made.folder / "old").mkdir()
    for name in ("train.csv", "test.csv"):
        shutil.copy(made.folder / name, made.folder / "old" / name)
    (made.folder / "old" / "sample_submission.csv").write_text("x,y\n1,0\n")
    assert read(made.folder)[0].digest == wanted.digest


@pytest.mark.parametrize("kind", [".gz", ".zip"])
def test_a_damaged_packed_table_is_named(made, read, tmp_path, kind) -> None:
    place = tmp_path / "packed"
    for name in ("train.csv", "test.csv"):
        packed(made.folder / name, place / name, kind)
    path = place / f"train.csv{kind}"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=rf"train.csv{kind} in .* is (truncated|damaged)"):
        read(place)


def test_a_packed_table_given_by_itself_is_answered_with_its_folder(made, tmp_path, read) -> None:
    packed(made.folder / "test.csv", tmp_path / "test.csv", ".zip")
    with pytest.raises(DataError, match=r"has no train\.csv; it holds test\.csv") as caught:
        read(tmp_path / "test.csv.zip")
    assert caught.value.mend == "Give --data the folder that the file lies in."


@pytest.mark.parametrize("mark", [";", "\t", "|", " "])
def test_other_separators(made, read, mark) -> None:
    made.sample(IDS)
    wanted, _ = read(made.folder)
    for path in made.folder.iterdir():
        path.write_text(path.read_text().replace(",", mark))
    dataset, _ = read(made.folder)
    assert dataset.digest == wanted.digest
    assert dataset.competition.form == wanted.competition.form
    # What is submitted is CSV all the same.
    assert dataset.competition.form.render(["1"], ["2"]) == b"ImageId,Label\n1,2\n"


def test_a_fault_in_a_table_with_semicolons_is_named_by_line_and_column(made, read) -> None:
    made.set("train.csv", 9, 3, "x")
    for path in made.folder.iterdir():
        path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(DataError, match=r"train\.csv line 9, column 'pixel2' holds 'x'"):
        read(made.folder)


def test_labels_in_the_test_file_are_left_out_and_said(made, read) -> None:
    wanted, _ = read(made.folder)
    rows = made.rows_of("test.csv")
    truth = ["label", *(str(number % 3) for number in range(12))]
    made.write("test.csv", [[label, *row] for label, row in zip(truth, rows, strict=True)])
    dataset, told = read(made.folder)
    assert dataset.digest == wanted.digest and dataset.truth is None
    assert len(told) == 1 and told[0].startswith("test.csv has the label column 'label' too")
    # Only who asks is told.
    found = find_truth(made.folder / "test.csv", dataset)
    assert found == dict(zip(IDS, truth[1:], strict=True))
    assert find_truth(made.folder, dataset) == found


def test_labels_of_another_test_file_are_no_truth(made, make, read) -> None:
    dataset, _ = read(made.folder)
    other = make("other")
    other.set("train.csv", 2, 1, str(int(other.images[0, 0]) ^ 1))
    shutil.move(other.folder / "train.csv", other.folder / "labelled.csv")
    rows = other.rows_of("labelled.csv")[:13]
    other.write("labelled.csv", rows)
    with pytest.raises(DataError, match="has other images than the test file"):
        find_truth(other.folder / "labelled.csv", dataset)


def test_columns_that_only_one_file_has_are_left_out_and_said(made, read) -> None:
    made.sample(IDS)
    wanted, _ = read(made.folder)
    train, test = made.rows_of("train.csv"), made.rows_of("test.csv")
    made.write("train.csv", [["writer" if n == 0 else "w,"[0], *r] for n, r in enumerate(train)])
    made.write("test.csv", [["usage" if n == 0 else "Public", *r] for n, r in enumerate(test)])
    dataset, told = read(made.folder)
    assert dataset.digest == wanted.digest
    assert told == [
        "train.csv: left out what is no pixel, label or id: writer",
        "test.csv: left out what is no pixel, label or id: usage",
    ]


def test_pixel_columns_that_only_one_file_has_are_refused(made, read) -> None:
    rows = made.rows_of("test.csv")
    made.write("test.csv", [[*r, "pixel16" if n == 0 else "0"] for n, r in enumerate(rows)])
    with pytest.raises(DataError, match="other pixel columns than train.csv"):
        read(made.folder)


def rewritten(made, change: Callable[[str], str]) -> None:
    """Write every pixel anew; the label is column 0 of train.csv."""
    for name, first in (("train.csv", 1), ("test.csv", 0)):
        head, *rows = made.rows_of(name)
        made.write(name, [head, *([*r[:first], *map(change, r[first:])] for r in rows)])


def test_pixels_written_as_floats(made, read) -> None:
    wanted, _ = read(made.folder)
    rewritten(made, "{}.0".format)
    dataset, told = read(made.folder)
    assert dataset.digest == wanted.digest
    assert told == ["train.csv and test.csv: pixels written as floats are whole numbers, read so"]


@pytest.mark.parametrize("digits", [4, 6, 17])
def test_pixels_from_0_to_1(made, read, digits) -> None:
    wanted, _ = read(made.folder)
    rewritten(made, lambda value: f"{int(value) / 255:.{digits}g}")
    dataset, told = read(made.folder)
    assert dataset.digest == wanted.digest
    assert told == ["pixels from 0 to 1 are multiplied by 255, in train and test alike"]


def test_pixels_of_0_and_1_alone(made, read) -> None:
    rewritten(made, lambda value: str(int(int(value) > 127)))
    dataset, told = read(made.folder)
    assert set(np.unique(dataset.images)) == set(np.unique(dataset.test_images)) == {0, 255}
    np.testing.assert_array_equal(dataset.images.reshape(30, 16) == 255, made.images > 127)
    assert told == ["pixels from 0 to 1 are multiplied by 255, in train and test alike"]


def test_fractions_that_are_no_steps_of_255_are_refused_by_line(made, read) -> None:
    rewritten(made, lambda value: str(int(value) / 255))
    made.set("train.csv", 7, 4, "0.5")
    with pytest.raises(DataError, match=r"line 7, column 'pixel3' holds '0.5'.*1/255"):
        read(made.folder)


def test_two_scales_are_refused(made, read) -> None:
    head, *rows = made.rows_of("test.csv")
    made.write("test.csv", [head, *([str(int(v) / 255) for v in row] for row in rows)])
    with pytest.raises(DataError, match=r"test\.csv has pixels from 0 to 1, train\.csv from 0 to"):
        read(made.folder)


def test_one_column_of_pixels_with_blanks_between_them(made, read) -> None:
    wanted, _ = read(made.folder)
    for name, first in (("train.csv", 1), ("test.csv", 0)):
        head, *rows = made.rows_of(name)
        lines = [[*row[:first], " ".join(row[first:])] for row in rows]
        made.write(name, [[*head[:first], "pixels"], *lines])
    assert read(made.folder)[0].digest == wanted.digest
    made.set("train.csv", 5, 1, "1 2 3")
    with pytest.raises(DataError, match="line 5, column 'pixels' holds 3 numbers; expected 16"):
        read(made.folder)


def test_a_byte_order_mark_in_files_that_users_write(made, read, tmp_path) -> None:
    made.sample(IDS)
    wanted, _ = read(made.folder)
    for name in ("train.csv", "test.csv"):
        path = made.folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(made.folder)[0].digest == wanted.digest
    (tmp_path / "c.toml").write_text("\ufefffilters = 8\n", "utf-8")
    (tmp_path / "c.json").write_text('\ufeff{"filters": 8}', "utf-8")
    assert read_config(tmp_path / "c.toml") == read_config(tmp_path / "c.json")
    (tmp_path / "space.toml").write_text("\ufeffdepth = 2\n", "utf-8")
    assert read_space(tmp_path / "space.toml")


def test_a_folder_of_training_images_alone_is_told_what_it_lacks(tmp_path, read) -> None:
    for label in "01":
        (tmp_path / "images" / "train" / label).mkdir(parents=True)
        (tmp_path / "images" / "train" / label / "7.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="There are no test images"):
        read(tmp_path / "images")
    with pytest.raises(DataError, match="There are no test images"):
        read(zipped(tmp_path / "images", tmp_path / "images.zip"))


def test_no_message_lists_more_than_ten_names(make, tmp_path, read) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        (folder / f"table{number:02}.csv").write_text("a\n1\n")
    with pytest.raises(DataError) as caught:
        read(folder)
    assert caught.value.message.endswith("table09.csv (+30 more).")
    assert shorten([str(n) for n in range(11)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 (+1 more)"
    assert len(shorten(["x" * 20_000])) < 100
    one = tmp_path / "one"
    one.mkdir()
    for name in ("train", "test"):
        (one / f"{name}.csv").write_text("~".join(f"p{n}" for n in range(9000)) + "\n1\n")
    with pytest.raises(DataError) as caught:
        read(one)
    assert len(caught.value.message) < 300


def test_names_alone_tell_a_competitions_files() -> None:
    """The kernel asks the same rule of what Kaggle mounts."""
    names = ["readme.md", "sign_mnist_train/sign_mnist_train.csv.gz", "sign_mnist_test/a_test.csv"]
    assert choose_files(names, "input") == {"train": names[1], "test": names[2]}
