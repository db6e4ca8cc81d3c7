"""Images in colour: read from all orders of their planes, and taken through every step."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ensembles.duplicates import near_duplicates
from ensembles.likeness import Training
from kaggle_digits.core.architecture import megamacs
from kaggle_digits.core.augmentation import augment, find_policy
from kaggle_digits.core.data import Dataset, load
from kaggle_digits.core.data.decoding import decode
from kaggle_digits.core.normalisation import normalise
from kaggle_digits.ground.config import TrainingConfig, load_portfolio
from kaggle_digits.ground.errors import ConfigurationError, DataError
from kaggle_digits.ground.names import (
    INK_POLICIES,
    NORMALISATIONS,
    PHOTO_POLICIES,
    POLICIES,
)
from kaggle_digits.ground.shapes import ImageShape
from kaggle_digits.ground.wanted import Wanted
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.shell import cli
from kaggle_digits.shell.report.images import png
from tuning.narrowing import narrow
from tuning.space import Choice, Space

SIDE = 6
COLOURS = ("red", "green", "blue")


def smooth(rows: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> np.ndarray:
    """Return images of smooth ramps, each plane of its own, uint8 [rows, height, width, 3]."""
    random = np.random.default_rng(seed)
    down, along = np.mgrid[0:height, 0:width]
    images = np.empty((rows, height, width, 3), np.uint8)
    for image in images:
        for plane in range(3):
            start, right, below = random.integers((0, 1, 1), (100, 12, 12))
            image[..., plane] = start + right * along + below * down
    return images


def write(
    folder: Path, images: np.ndarray, row: Callable[[np.ndarray], Sequence[int]], names: list[str]
) -> None:
    """Write two thirds of the images as train.csv of two classes, the others as test.csv."""
    folder.mkdir()
    split = len(images) * 2 // 3
    for name, part in (("train", images[:split]), ("test", images[split:])):
        labelled = name == "train"
        lines = [",".join([*(["label"] if labelled else []), *names])]
        for number, image in enumerate(part):
            label = ["ab"[number % 2]] if labelled else []
            lines.append(",".join([*label, *map(str, row(image))]))
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def interleaved(image: np.ndarray) -> list[int]:
    return [int(value) for value in image.ravel()]


def planar(image: np.ndarray) -> list[int]:
    return [int(value) for value in np.moveaxis(image, -1, 0).ravel()]


def numbered(count: int) -> list[str]:
    return [f"pixel{number}" for number in range(count)]


def read(folder: Path, place: Path, shape: str | None = None) -> tuple[Dataset, list[str]]:
    told: list[str] = []
    wanted = Wanted(None if shape is None else ImageShape.parse(shape))
    return load(folder, Workspace(place), told.append, wanted), told


@pytest.mark.parametrize("row", [interleaved, planar])
def test_the_order_of_the_planes_is_found_and_said(tmp_path, row) -> None:
    images = smooth(30)
    write(tmp_path / "data", images, row, numbered(3 * SIDE * SIDE))
    dataset, told = read(tmp_path / "data", tmp_path / "w")
    np.testing.assert_array_equal(dataset.images, images[:20])
    np.testing.assert_array_equal(dataset.test_images, images[20:])
    other = "3x6x6" if row is interleaved else "6x6x3"
    said = [text for text in told if "red, green and blue" in text]
    assert len(said) == 1 and f"--image-shape {other} reads them" in said[0]


@pytest.mark.parametrize(("row", "shape"), [(interleaved, "6x6x3"), (planar, "3x6x6")])
def test_the_order_can_be_given_against_the_look(tmp_path, row, shape) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, SIDE, SIDE, 3)).astype(np.uint8)
    write(tmp_path / "data", noise, row, numbered(3 * SIDE * SIDE))
    dataset, told = read(tmp_path / "data", tmp_path / "w", shape)
    np.testing.assert_array_equal(dataset.images, noise[:20])
    assert not [text for text in told if "red" in text]


def test_both_orders_and_columns_by_name_are_the_same_data(tmp_path) -> None:
    images = smooth(30)
    size = SIDE * SIDE
    grouped = [f"{colour[0]}{number}" for colour in COLOURS for number in range(size)]
    placed = [
        f"{colour}_{number // SIDE}x{number % SIDE}" for number in range(size) for colour in COLOURS
    ]
    forms = {
        "one": (interleaved, numbered(3 * size)),
        "two": (planar, numbered(3 * size)),
        "three": (planar, grouped),
        "four": (interleaved, placed),
    }
    found = set()
    for name, (row, columns) in forms.items():
        write(tmp_path / name, images, row, columns)
        dataset, _ = read(tmp_path / name, tmp_path / f"w {name}")
        np.testing.assert_array_equal(dataset.images, images[:20])
        found.add(dataset.digest)
    assert len(found) == 1


def test_colour_that_is_not_square(tmp_path) -> None:
    images = smooth(30, 4, 8)
    write(tmp_path / "data", images, planar, numbered(96))
    dataset, _ = read(tmp_path / "data", tmp_path / "w", "3x4x8")
    np.testing.assert_array_equal(dataset.images, images[:20])
    again, _ = read(tmp_path / "data", tmp_path / "w")
    assert again.digest == dataset.digest


@pytest.mark.parametrize("row", [interleaved, planar])
def test_one_column_that_holds_an_image_in_colour(tmp_path, row) -> None:
    images = smooth(30)
    write(tmp_path / "data", images, lambda image: [" ".join(map(str, row(image)))], ["pixels"])
    dataset, _ = read(tmp_path / "data", tmp_path / "w")
    np.testing.assert_array_equal(dataset.images, images[:20])


def test_a_shape_of_grey_for_columns_named_by_colours_is_refused(tmp_path) -> None:
    grouped = [f"{colour}{number}" for colour in COLOURS for number in range(SIDE * SIDE)]
    write(tmp_path / "data", smooth(30), planar, grouped)
    with pytest.raises(ConfigurationError, match="named by colours"):
        read(tmp_path / "data", tmp_path / "w", "6x6")


def test_a_plane_that_lacks_a_column_is_named(tmp_path) -> None:
    grouped = [f"{colour}{number}" for colour in COLOURS for number in range(SIDE * SIDE)]
    write(tmp_path / "data", smooth(30), planar, [*grouped[:-1], "other"])
    with pytest.raises(DataError, match="has 35 pixel columns, blue0 to blue34"):
        read(tmp_path / "data", tmp_path / "w")


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_takes_colour_and_moves_its_planes_together(name) -> None:
    policy = find_policy(name)
    if policy is None:
        return
    grey = smooth(4, 16, 16)[..., 0]
    colour = np.repeat(grey[..., np.newaxis], 3, axis=3)
    made = augment(colour, policy, (0, 0))
    assert made.shape == colour.shape and made.dtype == np.uint8
    assert not np.array_equal(made, colour)
    np.testing.assert_array_equal(made[..., 0], made[..., 1])
    np.testing.assert_array_equal(made, augment(colour, policy, (0, 0)))


def test_photographs_are_mirrored_only_where_the_policy_says_so() -> None:
    ramp = np.repeat(np.arange(0, 256, 8, np.uint8)[np.newaxis, :, np.newaxis], 32, axis=0)
    images = np.repeat(np.repeat(ramp, 3, axis=2)[np.newaxis], 40, axis=0)
    falls = {}
    for name in ("photo", "photo-unflipped"):
        policy = find_policy(name)
        assert policy is not None
        made = augment(images, policy, (0, 1)).astype(int)
        falls[name] = int((made[:, 16, 6, 0] > made[:, 16, 26, 0]).sum())
    assert falls["photo-unflipped"] == 0 and 8 <= falls["photo"] <= 32


def test_images_are_normalised_by_their_luminance() -> None:
    grey = smooth(3, 12, 12)[..., 0]
    colour = np.repeat(grey[..., np.newaxis], 3, axis=3)
    for name in NORMALISATIONS:
        made = normalise(colour, name)
        np.testing.assert_array_equal(made, np.repeat(normalise(grey, name)[..., None], 3, axis=3))


def test_the_search_varies_colour_as_photographs_and_grey_as_ink() -> None:
    def policies(space: Space) -> tuple[object, ...]:
        found = [one for one in space.dimensions if one.name == "augmentation"]
        assert len(found) == 1 and isinstance(found[0], Choice)
        return found[0].values

    assert policies(Space()) == INK_POLICIES
    assert policies(Space().in_colour()) == ("none", "light", *PHOTO_POLICIES)
    chosen = narrow({"augmentation": ["photo", "strong"]}, "a file")
    assert set(policies(chosen)) == set(policies(chosen.in_colour())) == {"strong", "photo"}
    assert {one.augmentation for one in load_portfolio()} == {"standard", "elastic"}
    assert {one.augmentation for one in load_portfolio(3)} == set(PHOTO_POLICIES)


def test_a_search_counts_the_planes_of_colour(tmp_path) -> None:
    config = TrainingConfig(family="pooled")
    more = megamacs(config, 32, 32, 10, 3) - megamacs(config, 32, 32, 10)
    assert more == pytest.approx(32 * 32 * 9 * 2 * config.filters / 1e6)


def test_new_images_in_colour_are_compared_by_their_luminance(tmp_path) -> None:
    train = Training(smooth(50))
    assert train.oddities(smooth(5, seed=1)) == [""] * 5
    assert all(train.oddities(np.zeros((2, SIDE, SIDE, 3), np.uint8)))


def test_a_picture_in_colour_is_shown_as_it_is() -> None:
    image = smooth(1)[0]
    found = decode(png(image))
    np.testing.assert_array_equal(found.pixels, image)
    shown = np.hstack([image, image])
    np.testing.assert_array_equal(decode(png(shown)).pixels, shown)


@pytest.mark.parametrize("side", [8, 24])
def test_images_that_come_twice_are_found_in_colour(side) -> None:
    train = np.random.default_rng(0).integers(0, 256, (60, side, side, 3), np.uint8)
    test = np.concatenate([train[7:8], 255 - train[:3]])
    assert [(pair.train, pair.test) for pair in near_duplicates(train, test)] == [(7, 0)]


def test_colour_goes_through_every_command(tmp_path, capfd) -> None:
    """The classes differ by colour alone: in grey they are the same."""
    random = np.random.default_rng(2)
    images = random.integers(0, 60, (90, 8, 8, 3))
    images[0:60:2, ..., 0] += 100
    images[1:60:2, ..., 2] += 100
    images[60::2, ..., 0] += 100
    images[61::2, ..., 2] += 100
    images = images.astype(np.uint8)
    write(tmp_path / "data", images, planar, numbered(192))
    place = ["--workspace", tmp_path / "w"]

    def call(*words: object) -> dict[str, object]:
        with pytest.raises(SystemExit) as ended:
            cli.cli([*map(str, (*words, *place, "--json"))], prog_name="kaggle-digits")
        out, err = capfd.readouterr()
        assert not ended.value.code, err
        return json.loads(out)

    shape = ["--data", tmp_path / "data", "--image-shape", "3x8x8"]
    call("tune", *shape, "--trials", 1, "--max-epochs", 1, "--workers", 1)
    best = json.loads((tmp_path / "w" / "tuning" / "best.json").read_text())
    assert best["configurations"][0]["config"]["augmentation"] in PHOTO_POLICIES
    call("cv-train", "--folds", 2, "--epochs", 40, "--keep-weights", "--workers", 1)
    call("blend", "--compare")
    truth = tmp_path / "truth.csv"
    lines = [f"{row + 1},{'ab'[row % 2]}" for row in range(30)]
    truth.write_text("ImageId,Label\n" + "\n".join(lines) + "\n")
    checked = call("check", "--truth", truth)
    assert checked["local_accuracy"] == 1.0
    for row, image in enumerate(images[60:64]):
        cv2.imwrite(str(tmp_path / f"{row}.png"), image[..., ::-1])
    new = [tmp_path / f"{row}.png" for row in range(4)]
    output = ["--output", tmp_path / "new.csv"]
    call("predict", *[word for path in new for word in ("--images", path)], *output)
    rows = list(csv.DictReader((tmp_path / "new.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["a", "b", "a", "b"]
    call("predict", "--images", tmp_path / "data" / "test.csv", *output)
    again = list(csv.DictReader((tmp_path / "new.csv").read_text().splitlines()))
    for one, other in zip(rows, again, strict=False):
        assert float(one["p_a"]) == pytest.approx(float(other["p_a"]), abs=2e-3)
    call("report", "--output", tmp_path / "report.html")
    assert "data:image/png" in (tmp_path / "report.html").read_text()
