"""Normalised images: upright strokes, ink of one size, the same in training and prediction."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from ensembles.planning import Candidate, Pace, Prices
from ensembles.trainer import FoldSet
from kaggle_digits.core import training
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.batches import Batches
from kaggle_digits.core.data import load
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.normalisation import NORMALISATIONS, normalise
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.progress import Silent

CHANGING = [name for name in NORMALISATIONS if name != "none"]


def stroke(lean: float, height: int = 28, width: int = 28, thickness: int = 2) -> np.ndarray:
    """Return one image of a stroke that goes `lean` pixels to the left for each pixel down."""
    image = np.zeros((height, width), np.uint8)
    reach = round(lean * height * 0.3)
    ends = (width // 2 + reach, round(height * 0.2)), (width // 2 - reach, round(height * 0.8))
    cv2.line(image, *ends, 255, thickness)
    return image[np.newaxis]


def ring(height: int = 28, width: int = 28, axes: tuple[int, int] = (4, 8)) -> np.ndarray:
    """Return one image of an upright ellipse."""
    image = np.zeros((height, width), np.uint8)
    cv2.ellipse(image, (width // 2, height // 2), axes, 0, 0, 360, 255, 2)
    return image[np.newaxis]


def slant(image: np.ndarray) -> float:
    rows, columns = np.nonzero(image > 64)
    return float(np.cov(rows, columns)[0, 1] / np.var(rows))


def box(image: np.ndarray) -> tuple[int, int, float, float]:
    """Return the ink's height and width and its middle's row and column."""
    rows, columns = np.nonzero(image >= 64)
    return (
        int(np.ptp(rows)) + 1,
        int(np.ptp(columns)) + 1,
        (rows.min() + rows.max()) / 2,
        (columns.min() + columns.max()) / 2,
    )


def test_none_gives_the_images_themselves() -> None:
    images = stroke(0.5)
    assert normalise(images, "none") is images


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("size", [(28, 28), (20, 44), (64, 16), (1, 1), (8, 8)])
def test_any_size_blank_or_full_or_random_keeps_its_shape(name, size) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    one = np.zeros((1, *size), np.uint8)
    one[0, size[0] // 2, size[1] // 2] = 7
    blank, full = np.zeros((1, *size), np.uint8), np.full((1, *size), 255, np.uint8)
    images = np.concatenate([blank, full, one, noise])
    before = images.copy()
    made = normalise(images, name)
    assert made.shape == images.shape and made.dtype == np.uint8
    assert np.array_equal(images, before)
    assert not made[0].any()
    assert all(image.any() for image in made[1:])
    assert not normalise(blank, name).any()
    assert normalise(images[:0], name).shape == (0, *size)


@pytest.mark.parametrize("name", CHANGING)
def test_an_image_is_normalised_without_regard_to_the_others(name) -> None:
    images = np.concatenate([stroke(0.5), ring(), stroke(-0.3)])
    together = normalise(images, name)
    for row in range(3):
        assert np.array_equal(normalise(images[row : row + 1], name)[0], together[row])
    assert np.array_equal(normalise(images, name), together)


@pytest.mark.parametrize("name", ["deslant", "deslant-box14", "deslant-box20"])
@pytest.mark.parametrize("lean", [-0.8, -0.3, 0.5, 0.9])
def test_slanted_strokes_are_set_upright(name, lean) -> None:
    given = stroke(lean)
    assert slant(given[0]) == pytest.approx(-lean, abs=0.1)
    assert abs(slant(normalise(given, name)[0])) < 0.07


def test_deslanting_leaves_the_rows_and_the_centroid_where_they_are() -> None:
    given = stroke(0.5)
    made = normalise(given, "deslant")[0]
    before, after = given[0].sum(axis=1).astype(int), made.sum(axis=1).astype(int)
    assert np.abs(before - after).max() < 0.1 * before.max()
    columns = np.arange(28)
    middle = (given[0] * columns).sum() / given[0].sum()
    assert (made * columns).sum() / made.sum() == pytest.approx(middle, abs=0.2)


def test_a_flat_stroke_is_not_torn_apart() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    cv2.line(image[0], (4, 13), (24, 15), 255, 2)
    made = normalise(image, "deslant")[0]
    # Unlimited, the shear would be ten pixels for each pixel down.
    assert box(made)[1] >= box(image[0])[1] - 6


@pytest.mark.parametrize("given", [ring(), ring(axes=(8, 6)), ring(44, 56, (12, 9))])
@pytest.mark.parametrize(("name", "width"), [("box14", 14 / 28), ("box20", 20 / 28)])
def test_ink_is_brought_to_one_size_in_the_middle(given, name, width) -> None:
    sides = given.shape[1:]
    high, wide, row, column = box(normalise(given, name)[0])
    assert high == pytest.approx(20 / 28 * sides[0], abs=2)
    assert wide == pytest.approx(width * sides[1], abs=2)
    assert row == pytest.approx((sides[0] - 1) / 2, abs=0.6)
    assert column == pytest.approx((sides[1] - 1) / 2, abs=0.6)


def test_faint_pixels_are_no_ink() -> None:
    given = ring()
    noisy = np.maximum(given, np.uint8(12))
    high, wide, *_ = box(normalise(noisy, "box20")[0])
    # Were they ink, the ring would shrink to 13 by 7.
    assert high == pytest.approx(20, abs=1) and wide == pytest.approx(20, abs=2)


@pytest.mark.parametrize("name", ["box14", "box20", "deslant-box20"])
def test_a_stroke_alone_stays_a_stroke(name) -> None:
    high, wide, *_ = box(normalise(stroke(0.0), name)[0])
    assert high == pytest.approx(20, abs=1) and 4 <= wide <= 9


@pytest.mark.parametrize(
    ("name", "given"),
    [("deslant", stroke(0.5, thickness=3)), *((name, ring(axes=(4, 6))) for name in CHANGING)],
)
def test_what_is_normalised_hardly_changes_when_it_is_normalised_again(name, given) -> None:
    once = normalise(given, name)
    moved = np.abs(normalise(once, name).astype(int) - once).sum()
    assert moved <= 0.12 * once.sum()


# --- where it is used


@pytest.fixture
def dataset(make, workspace):
    return load(make(height=8, width=8, rows=60).folder, workspace)


@pytest.mark.parametrize("part", ["train", "test"])
def test_banks_of_other_normalisations_are_other_banks(dataset, workspace, part) -> None:
    banks = {
        name: Bank(dataset, "light", 0, workspace, part, normalisation=name)
        for name in NORMALISATIONS
    }
    assert len({bank.digest for bank in banks.values()}) == len(NORMALISATIONS)
    assert banks["none"].digest == Bank(dataset, "light", 0, workspace, part).digest
    images = dataset.images if part == "train" else dataset.test_images
    from kaggle_digits.core.augmentation import POLICIES, augment

    for name in ("none", "deslant"):
        banks[name].ensure(range(1), Silent())
        wanted = augment(normalise(images, name), POLICIES["light"], (0, 0))
        assert np.array_equal(banks[name].copy(0), wanted)
    assert not np.array_equal(banks["none"].copy(0), banks["deslant"].copy(0))


def test_without_augmentation_a_network_is_fed_normalised_images(dataset, workspace) -> None:
    config = TrainingConfig(batch_size=16, normalisation="box14", augmentation="none")
    bank = Bank(dataset, "none", 0, workspace, normalisation="box14")
    bank.ensure(range(1), Silent())
    rows = np.arange(32)
    job = TrainingJob("job", config, rows, rows[:0], 1, 1, 0, predict_test=False)
    fed = np.concatenate([images for images, _ in Batches(job, dataset, bank).after(0)])
    wanted = normalise(dataset.images[:32], "box14")
    assert sorted(x.tobytes() for x in fed[..., 0]) == sorted(x.tobytes() for x in wanted)


def test_training_predicts_held_out_and_test_images_normalised(
    dataset, workspace, tmp_path, monkeypatch
) -> None:
    config = TrainingConfig(
        filters=4, depth=1, batch_size=16, normalisation="deslant", augmentation="none", views=2
    )
    bank = Bank(dataset, "none", 0, workspace, normalisation="deslant")
    job = TrainingJob("job", config, np.arange(40), np.arange(40, 60), 1, 1, 0, predict_test=True)
    models = []

    def watched(model, images, config):
        models.append(model)
        return predict(model, images, config)

    predict = training.predict
    monkeypatch.setattr(training, "predict", watched)
    found = train(job, dataset, bank, tmp_path, Silent())
    for given, images in ((found.held_out, dataset.images[40:]), (found.test, dataset.test_images)):
        as_it_comes = dataclasses.replace(config, normalisation="none")
        assert np.array_equal(given, predict(models[0], normalise(images, "deslant"), as_it_comes))
        assert not np.allclose(given, predict(models[0], images, as_it_comes), atol=1e-4)


def test_a_bank_that_is_there_is_not_counted_for_other_normalisations() -> None:
    plain = TrainingConfig(augmentation="elastic")
    upright = dataclasses.replace(plain, normalisation="deslant")
    paces = {config.digest: Pace(member=1, epoch=2, copy=3) for config in (plain, upright)}
    prices = Prices(folds=2, copies=5, paces=paces, made={"elastic": 5})
    sets = [Candidate(FoldSet(config, repeat=0, round=0, epochs=5)) for config in (plain, upright)]
    first, second = (prices.seconds(item, 5) for item in sets)
    assert second >= first + 5 * 3
    after = prices.after(sets[1], 5)
    assert after.seconds(sets[1], 5) == first


def test_an_unknown_name_makes_no_configuration() -> None:
    with pytest.raises(ConfigurationError, match="normalisation was given as 'deslent'") as caught:
        TrainingConfig(normalisation="deslent")
    assert caught.value.mend == "Did you mean 'deslant'?"
