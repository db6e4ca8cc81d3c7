"""Nearest neighbours where a blend is unsure: what they find, and that no label goes astray."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from ensembles import neighbours
from ensembles.blending import Blend
from ensembles.methods import calibrate
from ensembles.neighbours import (
    as_features,
    asked_again,
    fit,
    least_sure,
    most_probable,
    suits_neighbours,
    with_neighbours,
)
from ensembles.rules import LinearRule
from kaggle_digits.core import neighbours as distances
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import Folds, make_folds
from kaggle_digits.core.neighbours import References, distortions
from kaggle_digits.core.predictions import score, softmax64
from kaggle_digits.ground.artefacts import Fields
from kaggle_digits.ground.errors import ArtefactError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.records.blend import require_known_distances

SIDE, CLASSES, ROWS, TEST_ROWS, FOLD = 8, 3, 300, 60, 1


def drawn(random: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Return an image for each label: a cross, a square or two bars, here or there, with noise."""
    images = np.zeros((len(labels), SIDE, SIDE), np.uint8)
    for image, label in zip(images, labels, strict=True):
        x, y = random.integers(0, 2, 2).tolist()
        if label == 0:
            image[y + 1 : y + 6, x + 3] = image[y + 3, x + 1 : x + 6] = 220
        elif label == 1:
            cv2.rectangle(image, (x + 1, y + 1), (x + 5, y + 5), 220, 1)
        else:
            image[y + 1 : y + 6, x + 1] = image[y + 1 : y + 6, x + 5] = 220
    noise = random.integers(0, 30, images.shape).astype(np.uint8)
    return np.minimum(images, np.uint8(225)) + noise


def competition(make, workspace, random: np.random.Generator, *, told: bool = True):
    """Return data whose images show their labels or, untold, some other class."""
    dataset = load(make(height=SIDE, width=SIDE, rows=ROWS, test_rows=TEST_ROWS).folder, workspace)
    shown = dataset.labels if told else random.permutation(dataset.labels)
    truth = random.integers(0, CLASSES, TEST_ROWS)
    images, test_images = drawn(random, shown), drawn(random, truth)
    return dataclasses.replace(dataset, images=images, test_images=test_images), truth


def unsure_blend(random: np.random.Generator, labels: np.ndarray, truth: np.ndarray) -> Blend:
    """Return a blend that knows little of some rows and much of the others."""

    def say(of: np.ndarray) -> np.ndarray:
        strength = np.where(np.arange(len(of)) % 2 == 0, 1.0, 9.0)[:, np.newaxis]
        return softmax64(strength * np.eye(CLASSES)[of] + random.normal(size=(len(of), CLASSES)))

    oof, test = say(labels), say(truth)
    rule = calibrate(LinearRule((1.0,)), oof, labels)
    return Blend("mean", rule, oof, test, score(oof, labels), score(oof, labels))


@pytest.fixture(autouse=True)
def _of_half_of_the_rows(monkeypatch):
    monkeypatch.setattr(neighbours, "_SHARE", 0.4)
    monkeypatch.setattr(distances, "_CANDIDATES", 8)
    monkeypatch.setattr(distances, "_CLOSEST", 4)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


# --- the distance


def slowly(image: np.ndarray, other: np.ndarray, moves: int) -> float:
    """The distance by its formula, pixel by pixel."""
    high, wide = image.shape[1:]
    room = np.pad(other, ((0, 0), (moves, moves), (moves, moves)))
    total = 0.0
    for y in range(high):
        for x in range(wide):
            best = np.inf
            for dy in range(-moves, moves + 1):
                for dx in range(-moves, moves + 1):
                    apart = 0.0
                    for v in range(max(0, y - 1), min(high, y + 2)):
                        for u in range(max(0, x - 1), min(wide, x + 2)):
                            moved = room[:, v + dy + moves, u + dx + moves]
                            apart += float(((moved - image[:, v, u]) ** 2).sum())
                    best = min(best, apart)
            total += best
    return total


@pytest.mark.parametrize("moves", [1, 2])
def test_distortions_are_what_their_formula_says(random, moves) -> None:
    image, others = random.random((2, 6, 5)), random.random((3, 2, 6, 5))
    found = distortions(image.astype(np.float32), others.astype(np.float32), moves)
    np.testing.assert_allclose(found, [slowly(image, other, moves) for other in others], rtol=1e-4)


def test_a_stroke_that_moved_is_near_and_another_shape_is_far() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 13:15] = 255
    moved, other = np.roll(image, 2, axis=1), image.T.copy()
    gradients = distances._gradients(np.stack([image, image, moved, other]))
    same, near, far = distortions(gradients[0], gradients[1:], 2).tolist()
    assert same == 0 and near < far / 100


def test_the_nearest_of_each_class_is_found_among_those_allowed(random) -> None:
    labels = np.arange(60) % 3
    images = drawn(random, labels)
    known = References(images, labels)
    allowed = np.arange(30)
    asked = np.array([[0, 1, 2], [2, 0, 1]])
    with Silent().task("", 2, "") as task:
        found = known.distances(images[[40, 41]], asked, allowed, task)
        with_itself = known.distances(images[[40]], asked[:1], np.arange(60), task)
        other_order = known.distances(images[[40]], np.array([[2, 1, 0]]), allowed, task)
    assert found.shape == (2, 3, len(distances.DISTANCES))
    # Row 40 shows class 1, row 41 class 2; as they are and normalised.
    assert (found[0].argmin(axis=0) == 1).all()
    assert (asked[1, found[1].argmin(axis=0)] == 2).all()
    assert (with_itself[0, 1] == distances._SMALLEST).all()
    assert (found[0, 1] > distances._SMALLEST).all()
    assert other_order[0].tolist() == found[0, ::-1].tolist()


def test_a_distance_is_the_smallest_of_all_where_all_are_candidates(random, monkeypatch) -> None:
    labels = np.arange(30) % 3
    images = drawn(random, labels)
    one = drawn(random, np.array([2]))
    gradients = distances._gradients(np.concatenate([one, images]))
    all_of_them = distortions(gradients[0], gradients[1:], 2)
    wanted = [all_of_them[labels == label].min() for label in range(3)]
    with Silent().task("", 3, "") as task:
        arguments = one, np.array([[0, 1, 2]]), np.arange(30), task
        some = References(images, labels).distances(*arguments)[0, :, 0]
        monkeypatch.setattr(distances, "_CANDIDATES", 10)
        monkeypatch.setattr(distances, "_CLOSEST", 10)
        found = References(images, labels).distances(*arguments)[0, :, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert (some >= found).all() and some.argmin() == found.argmin() == 2


def test_each_normalisation_has_a_distance_of_its_own(random) -> None:
    """The same shape sheared is far as it is, and near once it stands upright."""
    assert distances.DISTANCES == ("none", "deslant-box20")
    upright, bars = np.zeros((28, 28), np.uint8), np.zeros((28, 28), np.uint8)
    upright[4:24, 12:16] = 255
    bars[4:24, 6:9] = bars[4:24, 19:22] = 255
    back = np.array([[1, 0.7, -0.7 * 13.5], [0, 1, 0]])
    slanted = cv2.warpAffine(upright, back, (28, 28), flags=cv2.WARP_INVERSE_MAP)
    known = References(np.stack([upright, bars]), np.array([0, 1]))
    with Silent().task("", 4, "") as task:
        found = known.distances(slanted[np.newaxis], np.array([[0, 1]]), np.arange(2), task)[0]
    as_it_is, normalised = found.T
    assert normalised[0] < as_it_is[0] / 3 and normalised[0] < normalised[1] / 3


def test_a_class_without_a_reference_is_as_far_as_the_farthest(random) -> None:
    labels = np.arange(60) % 3
    images = drawn(random, labels)
    known = References(images, labels)
    asked = np.array([[0, 1, 2], [2, 0, 1]])
    some = np.flatnonzero(labels[:30] != 2)
    with Silent().task("", 2, "") as task:
        whole = known.distances(images[[40, 41]], asked, np.arange(30), task)
        found = known.distances(images[[40, 41]], asked, some, task)
        nothing = known.distances(images[[40, 41]], asked, some[:0], task)
    assert found[0].tolist() == [*whole[0, :2].tolist(), whole[0, :2].max(axis=0).tolist()]
    assert found[1].tolist() == [whole[1, 1:].max(axis=0).tolist(), *whole[1, 1:].tolist()]
    assert (nothing == distances._SMALLEST).all()


# --- what is made of it


def test_exponents_have_the_lowest_log_loss(random) -> None:
    labels = random.integers(0, CLASSES, 400)
    base = softmax64(np.eye(CLASSES)[labels] + random.normal(size=(400, CLASSES)))
    noise = 0.4 * random.normal(size=(400, CLASSES, 2))
    near = np.exp(-0.3 * np.eye(CLASSES)[labels][..., np.newaxis] + noise)
    features = as_features(base, np.tile(np.arange(CLASSES), (400, 1)), near)
    found = fit(features, labels)

    def loss(values) -> float:
        return score(softmax64(features @ np.asarray(values)), labels).log_loss

    assert found.shape == (3,) and (found[1:] > 1).all()
    for step in np.diag([0.05, 0.2, 0.2]):
        assert loss(found) < min(loss(found + step), loss(found - step))
    # Rows that neighbours tell apart without an error do not send them to infinity.
    sure = as_features(
        base,
        np.tile(np.arange(CLASSES), (400, 1)),
        np.exp(-np.eye(CLASSES)[labels])[..., np.newaxis],
    )
    assert np.isfinite(fit(sure, labels)).all()


def test_classes_that_are_not_asked_for_are_as_far_as_the_farthest() -> None:
    base = np.array([[0.5, 0.3, 0.1, 0.06, 0.04]])
    asked = most_probable(base)
    assert asked.tolist() == [[0, 1, 2, 3]]
    near = np.array([[[4.0, 1.0], [2.0, 9.0], [8.0, 2.0], [1.0, 3.0]]])
    features = as_features(base, asked, near)
    np.testing.assert_allclose(features[0, :, 1], -np.log([4, 2, 8, 1, 8]))
    np.testing.assert_allclose(features[0, :, 2], -np.log([1, 9, 2, 3, 9]))
    np.testing.assert_allclose(features[0, :, 0], np.log(base[0]))


def test_the_least_sure_rows_are_asked_about(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "_SHARE", 0.5)
    sure = np.array([0.9, 0.6, 0.95, 0.7])
    assert least_sure(np.stack([sure, 1 - sure], axis=1)).tolist() == [1, 3]


def test_neighbours_answer_what_the_blend_could_not(make, workspace, random) -> None:
    dataset, truth = competition(make, workspace, random)
    folds = make_folds(dataset, 3, 0, workspace)
    blend = unsure_blend(random, dataset.labels, truth)
    made, found = with_neighbours(blend, dataset, folds, Silent())
    assert found.helps and found.effect is not None
    assert (found.rows, found.test_rows) == (120, 24)
    assert found.exponents is not None and sum(found.exponents[1:]) > 0
    assert made.honest.accuracy > blend.honest.accuracy + 0.05
    assert np.mean(made.test.argmax(axis=1) == truth) > np.mean(blend.test.argmax(axis=1) == truth)
    # Sure rows are left as they are, and the account is of what was made.
    changed = np.flatnonzero((made.oof != blend.oof).any(axis=1))
    assert len(changed) <= 120 and blend.oof[changed].max(axis=1).mean() < 0.9
    assert made.honest == score(made.oof, dataset.labels)
    np.testing.assert_allclose(made.oof.sum(axis=1), 1)
    again, _ = with_neighbours(blend, dataset, folds, Silent())
    assert np.array_equal(again.oof, made.oof) and np.array_equal(again.test, made.test)
    # Elsewhere, by what the account says of it, the same test rows come out alike.
    account = json.loads(json.dumps({"neighbours": found.to_json()}))
    read = neighbours.Asked.of(account)
    assert read == found and neighbours.Asked.of({}) is None
    assert np.array_equal(asked_again(blend.test, read, dataset, Silent()), made.test)
    useless = dataclasses.replace(found.effect, log_loss_high=0.001)
    unchanged = dataclasses.replace(read, effect=useless)
    assert asked_again(blend.test, unchanged, dataset, Silent()) is blend.test


class Counted(Silent):
    """Adds up what is told of the work."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.done = 0

    @contextmanager
    def task(self, description: str, total: int, unit: str):
        self.totals.append(total)
        yield self

    def advance(self, steps: int = 1) -> None:
        self.done += steps


def test_progress_ends_at_its_total(make, workspace, random, monkeypatch) -> None:
    monkeypatch.setattr(neighbours.Asked, "helps", True)
    dataset, truth = competition(make, workspace, random)
    labels = np.where(dataset.labels == 2, 0, dataset.labels)  # a class without references
    dataset = dataclasses.replace(dataset, labels=labels)
    folds = make_folds(dataset, 3, 0, workspace, "drop")
    told, again = Counted(), Counted()
    made, found = with_neighbours(unsure_blend(random, labels, truth), dataset, folds, told)
    asked_again(made.test, found, dataset, again)
    assert told.totals == [(120 + 24) * 3 * 2] == [told.done]
    assert again.totals == [24 * 3 * 2] == [again.done]


def test_what_an_earlier_version_found_by_one_distance_is_refused() -> None:
    fields = {"rows": 9, "test_rows": 3, "images": [3, -1, 7], "log_loss": [-0.1, -0.2, -0.05]}
    effect = neighbours.Asked.from_json(Fields(fields | {"exponents": [0.6, 2.0, 2.0]}))
    now = {"neighbours": json.loads(json.dumps(effect.to_json()))}
    assert effect.helps and now["neighbours"]["distances"] == ["none", "deslant-box20"]
    require_known_distances(now)
    require_known_distances({})
    before = {"neighbours": fields | {"exponents": [0.6, 4.0], "helps": True}}
    assert "+3 images" in neighbours.Asked.of(before).verdict()  # a report can still tell it
    with pytest.raises(ArtefactError, match="as an earlier version did") as raised:
        require_known_distances(before)
    assert "kaggle-digits blend" in str(raised.value.mend)
    # What was left out changes nothing.
    require_known_distances({"neighbours": before["neighbours"] | {"helps": False}})


def test_a_class_that_no_member_was_trained_on_is_not_looked_at(
    make, workspace, random, monkeypatch
) -> None:
    monkeypatch.setattr(neighbours.Asked, "helps", True)
    dataset, truth = competition(make, workspace, random)
    labels = np.arange(ROWS) // 2 % 2
    labels[[0, 10]] = 2
    dataset = dataclasses.replace(dataset, images=drawn(random, labels), labels=labels)
    folds = make_folds(dataset, 3, 0, workspace, "drop")
    judged = folds.judged_rows
    blend = unsure_blend(random, labels[judged], truth)
    made, found = with_neighbours(blend, dataset, folds, Silent(), judged)
    assert found.without == ("2",) and found.test_rows == 24
    account = json.loads(json.dumps({"neighbours": found.to_json()}))
    read = neighbours.Asked.of(account)
    assert read == found
    assert np.array_equal(asked_again(blend.test, read, dataset, Silent()), made.test)
    # An account of before does not tell: all images are looked at.
    del account["neighbours"]["without"]
    before = neighbours.Asked.of(account)
    assert before is not None and before.without == ()
    assert not np.array_equal(asked_again(blend.test, before, dataset, Silent()), made.test)


def test_a_gain_in_one_group_alone_shows_nothing(make, workspace, random) -> None:
    dataset, truth = competition(make, workspace, random)
    folds = make_folds(dataset, 3, 0, workspace)
    blend = unsure_blend(random, dataset.labels, truth)
    assert with_neighbours(blend, dataset, folds, Silent())[1].helps
    # All that are asked about are of one writer, the others of one each.
    asked = [rows[least_sure(blend.oof[rows])] for rows in map(folds.held_out_rows, range(3))]
    groups = np.arange(ROWS)
    groups[np.concatenate(asked)] = ROWS
    written = dataclasses.replace(dataset, groups=groups)
    made, found = with_neighbours(blend, written, folds, Silent())
    assert made is blend and not found.helps and found.effect is not None
    assert found.effect.log_loss < 0 < found.effect.log_loss_high


def test_too_few_rows_leave_the_blend_as_it_is(make, workspace, random, monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "_SHARE", 0.02)
    dataset, truth = competition(make, workspace, random)
    blend = unsure_blend(random, dataset.labels, truth)
    folds = make_folds(dataset, 3, 0, workspace)
    made, found = with_neighbours(blend, dataset, folds, Silent())
    assert made is blend and not found.helps and "too few" in found.verdict()
    assert neighbours.Asked.from_json(Fields(found.to_json())) == found


# --- no label goes astray


def require_that_own_labels_do_not_count(dataset, blend, folds, monkeypatch) -> None:
    """Change the labels of one fold; what its rows are told may not change."""
    # Exponents come from rows of other folds, whose neighbours may be in this one.
    monkeypatch.setattr(neighbours, "fit", lambda features, labels: np.array([0.7, 3.0, 2.0]))
    monkeypatch.setattr(neighbours.Asked, "helps", True)
    own = folds.held_out_rows(FOLD)
    labels = dataset.labels.copy()
    labels[own] = (labels[own] + 1) % CLASSES
    wanted, _ = with_neighbours(blend, dataset, folds, Silent())
    other = dataclasses.replace(dataset, labels=labels)
    found, _ = with_neighbours(blend, other, folds, Silent())
    assert np.array_equal(wanted.oof[own], found.oof[own])
    others = np.setdiff1d(np.arange(ROWS), own)
    assert not np.array_equal(wanted.oof[others], found.oof[others])


def test_no_label_of_a_fold_reaches_its_rows(make, workspace, random, monkeypatch) -> None:
    dataset, truth = competition(make, workspace, random)
    folds = make_folds(dataset, 3, 0, workspace)
    blend = unsure_blend(random, dataset.labels, truth)
    require_that_own_labels_do_not_count(dataset, blend, folds, monkeypatch)


def test_the_same_test_finds_a_leak(make, workspace, random, monkeypatch) -> None:
    dataset, truth = competition(make, workspace, random)
    folds = make_folds(dataset, 3, 0, workspace)
    blend = unsure_blend(random, dataset.labels, truth)
    monkeypatch.setattr(Folds, "training_rows", lambda self, fold: np.arange(ROWS))
    with pytest.raises(AssertionError):
        require_that_own_labels_do_not_count(dataset, blend, folds, monkeypatch)


def effects_of_noise(make, workspace, random, repetitions: int) -> list[float]:
    """Ask neighbours about images that say nothing of their labels; return what they 'bring'."""
    found = []
    for number in range(repetitions):
        name = workspace.root / str(number)
        dataset, truth = competition(
            lambda number=number, **form: make(f"noise-{number}", **form),
            type(workspace)(name), random, told=False,
        )  # fmt: skip
        folds = make_folds(dataset, 3, number, type(workspace)(name))
        blend = unsure_blend(random, dataset.labels, truth)
        calibrated = dataclasses.replace(blend, oof=blend.rule.apply(blend.oof[np.newaxis]))
        _, asked = with_neighbours(calibrated, dataset, folds, Silent())
        assert asked.effect is not None
        found.append(asked.effect.log_loss)
    return found


def test_where_images_say_nothing_no_gain_is_shown(make, workspace, random) -> None:
    effects = np.array(effects_of_noise(make, workspace, random, 10))
    # A fitted exponent costs a little on rows that did not choose it; it never seems to bring any.
    assert effects.mean() > -2 * effects.std(ddof=1) / np.sqrt(10)
    assert np.abs(effects).max() < 0.02


def test_with_the_own_fold_among_the_neighbours_noise_would_seem_a_gain(
    make, workspace, random, monkeypatch
) -> None:
    monkeypatch.setattr(Folds, "training_rows", lambda self, fold: np.arange(ROWS))
    assert max(effects_of_noise(make, workspace, random, 3)) < -0.1


@pytest.mark.parametrize(
    ("shape", "asked"),
    [((28, 28), True), ((40, 40), True), ((41, 40), False), ((8, 8, 3), False)],
)
def test_by_itself_it_asks_of_small_grey_images_only(shape, asked) -> None:
    assert suits_neighbours(np.zeros((2, *shape), np.uint8)) is asked
