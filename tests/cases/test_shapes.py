"""The shape of images: chosen aloud, changed by an option, kept with the workspace's data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.ground.shapes import ImageShape
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.shell import cli


def call(*words: object) -> int:
    """Call the command line; its exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.cli([*map(str, words)], prog_name="kaggle-digits")
    return int(ended.value.code or 0)


@pytest.mark.parametrize("text", ["2x8", "2×8", "2 X 8", "2x8x1"])
def test_the_shape_is_read_in_its_usual_forms(text) -> None:
    assert ImageShape.parse(text) == ImageShape(2, 8)


@pytest.mark.parametrize("text", ["", "8", "0x8", "2x", "axb", "2x8x4", "-2x8"])
def test_what_is_no_shape_is_refused_before_anything_runs(made, tmp_path, capfd, text) -> None:
    code = call(
        "tune", "--data", made.folder, "--workspace", tmp_path / "w", f"--image-shape={text}"
    )
    err = capfd.readouterr().err
    assert code == 2 and "--image-shape was given as" in err and "Traceback" not in err
    assert not (tmp_path / "w" / "cache").exists()


def test_a_choice_is_said_with_how_to_change_it(made, workspace) -> None:
    told: list[str] = []
    dataset = load(made.folder, workspace, told.append)
    assert dataset.images.shape == (30, 4, 4)
    assert told[-1] == (
        "16 pixels are read as 4×4, height × width; --image-shape gives another shape, such as 2x8"
    )


def test_where_names_give_row_and_column_there_is_no_choice(make, workspace) -> None:
    made = make(pixel=lambda n: f"r{n // 8}c{n % 8}", height=2, width=8)
    told: list[str] = []
    assert load(made.folder, workspace, told.append).images.shape == (30, 2, 8)
    assert not [text for text in told if "--image-shape" in text]
    with pytest.raises(ConfigurationError, match="named by row and column, 2x8 of them"):
        load(made.folder, workspace, wanted=Wanted(shape=ImageShape(4, 4)))


def test_images_that_are_not_square(make, workspace) -> None:
    made = make(height=2, width=8)
    dataset = load(made.folder, workspace, wanted=Wanted(shape=ImageShape(2, 8)))
    np.testing.assert_array_equal(dataset.images, made.images.reshape(30, 2, 8))
    np.testing.assert_array_equal(dataset.test_images, made.test_images.reshape(12, 2, 8))
    assert (dataset.competition.height, dataset.competition.width) == (2, 8)


@pytest.mark.parametrize("first", [0, 1])
def test_a_count_that_is_no_square_is_answered_with_the_option(make, workspace, first) -> None:
    made = make(height=2, width=7, pixel=lambda n: f"p{n + first}")
    with pytest.raises(DataError, match="has 14 pixel columns") as caught:
        load(made.folder, workspace)
    assert "--image-shape 2x7" in str(caught.value.mend)
    wanted = Wanted(shape=ImageShape(2, 7))
    assert load(made.folder, workspace, wanted=wanted).images.shape == (30, 2, 7)


def test_a_shape_of_another_count_is_refused_with_both_counts(made, workspace) -> None:
    with pytest.raises(ConfigurationError, match=r"is 4x5, 20 pixels, but train\.csv has 16"):
        load(made.folder, workspace, wanted=Wanted(shape=ImageShape(4, 5)))


def test_a_missing_pixel_is_named_under_a_given_shape_too(make, workspace) -> None:
    made = make(height=2, width=8)
    for name, gone in (("train.csv", 6), ("test.csv", 5)):
        width = len(made.rows_of(name)[0])
        made.move_columns(name, [column for column in range(width) if column != gone])
    with pytest.raises(DataError, match="missing pixel columns pixel5"):
        load(made.folder, workspace, wanted=Wanted(shape=ImageShape(2, 8)))


def test_three_planes_that_are_one_grey_image_are_read_when_told_so(make, workspace) -> None:
    made = make(height=3, width=16)
    wanted = Wanted(shape=ImageShape(3, 16))
    assert load(made.folder, workspace, wanted=wanted).images.shape == (30, 3, 16)


def in_one_column(made) -> None:
    """Write the pixels of a row into one field."""
    for name, first in (("train.csv", 1), ("test.csv", 0)):
        head, *rows = made.rows_of(name)
        lines = [[*row[:first], " ".join(row[first:])] for row in rows]
        made.write(name, [[*head[:first], "pixels"], *lines])


def test_one_column_of_pixels_takes_a_shape(make, workspace) -> None:
    made = make(height=2, width=8)
    in_one_column(made)
    dataset = load(made.folder, workspace, wanted=Wanted(shape=ImageShape(2, 8)))
    np.testing.assert_array_equal(dataset.images, made.images.reshape(30, 2, 8))


@pytest.mark.parametrize("form", ["folder", "zip", "one column"])
def test_a_picture_beside_pixels_that_make_no_square_is_no_training_image(
    make, workspace, tmp_path, form
) -> None:
    made = make(height=28, width=30)
    if form == "one column":
        in_one_column(made)
    (made.folder / "preview.png").write_bytes(b"a picture")
    path = made.zipped(tmp_path / "data.zip") if form == "zip" else made.folder
    dataset = load(path, workspace, wanted=Wanted(shape=ImageShape(28, 30)))
    np.testing.assert_array_equal(dataset.images, made.images.reshape(30, 28, 30))


def test_a_lost_pixel_is_named_beside_a_picture_too(make, workspace) -> None:
    made = make(height=28, width=28)
    for name, gone in (("train.csv", 6), ("test.csv", 5)):
        width = len(made.rows_of(name)[0])
        made.move_columns(name, [column for column in range(width) if column != gone])
    (made.folder / "preview.png").write_bytes(b"a picture")
    with pytest.raises(DataError, match="missing pixel columns pixel5; expected all 784"):
        load(made.folder, workspace)


def test_the_shape_is_kept_with_the_workspaces_data(make, workspace) -> None:
    made = make(height=2, width=8)
    first = load(made.folder, workspace, wanted=Wanted(shape=ImageShape(2, 8)))
    for path in (None, made.folder):
        again = load(path, workspace)
        assert again.images.shape == (30, 2, 8) and again.digest == first.digest


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Two classes that differ in the upper half of images of 8 × 16 pixels."""
    random = np.random.default_rng(1)
    folder = tmp_path / "bars"
    folder.mkdir()
    for name, rows in (("train", 40), ("test", 12)):
        images = random.integers(0, 60, (rows, 8, 16))
        images[::2, :4] += 150
        head = [*(["label"] if name == "train" else []), *(f"pixel{n}" for n in range(128))]
        lines = [",".join(head)]
        for row, image in enumerate(images):
            label = [str(row % 2)] if name == "train" else []
            lines.append(",".join([*label, *map(str, image.ravel().tolist())]))
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_shape_reaches_all_commands(bars, tmp_path, capfd) -> None:
    """The search by workers of their own too."""
    place = ["--workspace", tmp_path / "w"]
    first = ["tune", "--data", bars, "--image-shape", "8x16", "--trials", 1, "--max-epochs", 1]
    assert call(*first, "--workers", 1, "--no-portfolio", *place) == 0, capfd.readouterr().err
    train = [
        "cv-train",
        "--top-k",
        1,
        "--folds",
        2,
        "--epochs",
        1,
        "--keep-weights",
        "--workers",
        1,
    ]
    assert call(*train, *place) == 0, capfd.readouterr().err
    assert call("blend", *place) == 0 and call("check", *place) == 0
    output = ["--output", tmp_path / "new.csv"]
    assert call("predict", "--images", bars / "test.csv", *output, *place) == 0
    meta = [
        json.loads(path.read_text()) for path in (tmp_path / "w").glob("cache/data/*/meta.json")
    ]
    assert [(one["competition"]["height"], one["competition"]["width"]) for one in meta] == [
        (8, 16)
    ]
