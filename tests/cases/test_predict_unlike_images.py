"""New images and extras that are not like what they are taken for: put right, named, or refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ensembles.doubts import refuse_unsound
from ensembles.extra import Extra
from ensembles.likeness import Training, fit
from ensembles.pool import Pool
from ensembles.prediction import read_images
from kaggle_digits.ground.competition import Competition, SubmissionFormat
from kaggle_digits.ground.errors import DataError

FORM = Competition(8, 8, ("a", "b"), SubmissionFormat())


def strokes(count: int, seed: int = 0, strength: int = 255) -> np.ndarray:
    """Draw light bars on black, uint8 [count, 8, 8]."""
    random = np.random.default_rng(seed)
    images = np.zeros((count, 8, 8), np.uint8)
    for image in images:
        left = random.integers(2, 5)
        image[1:7, left : left + 2] = random.integers(strength // 2, strength + 1, (6, 2))
    return images


TRAINING = Training(strokes(200))


def taken(images: np.ndarray, invert: str = "auto", opaque: np.ndarray | None = None):
    """Hold images against the training images."""
    names = [f"{number}.png" for number in range(len(images))]
    cover = np.full_like(images, 255) if opaque is None else opaque
    return fit(names, images, cover, TRAINING, invert)


def test_images_as_in_training_are_taken_as_they_are() -> None:
    new = strokes(12, seed=1)
    found = taken(new)
    assert np.array_equal(found.images, new)
    assert found.inverted == found.scaled == found.odd == () and found.remarks() == []


def test_thin_bold_and_pale_writing_passes() -> None:
    thin, bold, pale = strokes(3, seed=2)
    thin[:, 3:] = 0
    thin[1:7, 3] = 200
    bold[1:7, 2:6] = 255
    pale = np.where(pale > 0, pale, 20).astype(np.uint8)
    assert taken(np.stack([thin, bold, pale])).odd == ()


def test_inverted_images_are_turned_round_and_named() -> None:
    new = strokes(12, seed=1)
    found = taken(255 - new)
    assert np.array_equal(found.images, new) and len(found.inverted) == 12 and found.odd == ()
    assert found.remarks() == [
        "inverted, to be like the training images: 12 (0.png, 1.png, 2.png, 3.png, 4.png, 5.png, "
        "6.png, 7.png, 8.png, 9.png (+2 more))"
    ]


def test_only_those_that_are_inverted_are_turned_round() -> None:
    new = strokes(4, seed=1)
    mixed = new.copy()
    mixed[2] = 255 - mixed[2]
    found = taken(mixed)
    assert np.array_equal(found.images, new) and found.inverted == ("2.png",)


def test_pixels_of_0_and_1_are_multiplied() -> None:
    ink = strokes(5, seed=1) > 0
    for given, inverted in ((ink, 0), (~ink, 5)):
        found = taken(given.astype(np.uint8))
        assert np.array_equal(found.images, ink * np.uint8(255))
        assert len(found.scaled) == 5 and len(found.inverted) == inverted


def test_black_ink_on_transparent_is_laid_on_the_background() -> None:
    ink = strokes(5, seed=1)
    found = taken(np.zeros_like(ink), opaque=ink)
    assert np.array_equal(found.images, ink) and len(found.inverted) == 5
    white = taken(np.full_like(ink, 255), opaque=ink)
    assert np.array_equal(white.images, ink) and white.inverted == ()


def test_transparent_parts_become_the_training_images_background() -> None:
    paper = Training(255 - strokes(200))
    assert paper.background == 255
    ink = strokes(3, seed=1)
    found = fit(["a", "b", "c"], np.zeros_like(ink), ink, paper, "auto")
    assert np.array_equal(found.images, 255 - ink) and found.inverted == ()


def test_some_unlike_images_are_named_in_a_warning() -> None:
    new = strokes(4, seed=1)
    new[1] = 128
    found = taken(new)
    assert found.odd == ("1.png",) and np.array_equal(found.images[1], new[1])
    (remark,) = found.remarks()
    assert remark.startswith("warning: not like the training images: 1 (1.png); of the first, its")


def test_where_all_are_unlike_nothing_is_predicted() -> None:
    with pytest.raises(DataError, match=r"None of the images .*3 \(0\.png, 1\.png, 2\.png\)") as e:
        taken(np.full((3, 8, 8), 128, np.uint8))
    assert "background is 128, in training 0" in e.value.message
    assert e.value.mend and "--invert no" in e.value.mend


def test_who_says_how_is_believed_and_warned() -> None:
    new = 255 - strokes(3, seed=1)
    as_they_are = taken(new, invert="no")
    assert np.array_equal(as_they_are.images, new) and len(as_they_are.odd) == 3
    turned = taken(strokes(3, seed=1), invert="yes")
    assert np.array_equal(turned.images, new) and len(turned.odd) == len(turned.inverted) == 3


def test_training_images_of_both_kinds_leave_all_as_they_are() -> None:
    both = Training(np.concatenate([strokes(100), 255 - strokes(100)]))
    new = 255 - strokes(3, seed=1)
    found = fit(["a", "b", "c"], new, np.full_like(new, 255), both, "auto")
    assert np.array_equal(found.images, new) and found.odd == ()


def test_png_files_inverted_and_transparent_are_read_alike(tmp_path: Path) -> None:
    ink = strokes(2, seed=1)
    assert cv2.imwrite(str(tmp_path / "a.png"), 255 - ink[0])
    black = np.zeros((8, 8, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "b.png"), np.dstack([black, ink[1]]))
    new = read_images([tmp_path], FORM)
    found = fit(new.names, new.pixels, new.opaque, TRAINING, "auto")
    assert np.array_equal(found.images, ink) and found.inverted == ("a.png", "b.png")


# --- extras


LABELS = np.arange(300) % 3
TRUTH = np.random.default_rng(5).integers(0, 3, 150)


def said(answers: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw probabilities, float32 [rows, 3], right in nine rows of ten."""
    random = np.random.default_rng(seed)
    wrong = random.random(len(answers)) < 0.1
    named = np.where(wrong, (answers + 1) % 3, answers)
    values = 0.05 + random.random((len(answers), 3)) * 0.1
    values[np.arange(len(answers)), named] += 1
    return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)


def pooled(oof: np.ndarray, test: np.ndarray) -> Pool:
    """Join one set of our own and an extra."""
    extra = Extra("friend", oof, test, "0" * 64, "0" * 64)
    own = said(LABELS, 1), said(TRUTH, 2)
    return Pool(
        names=("own", "friend"),
        members=("own", "friend"),
        oof=np.stack([own[0], oof]),
        rows=np.arange(300),
        test=np.stack([own[1], test]),
        extras=(extra,),
    )


def test_a_sound_extra_is_taken_without_a_word() -> None:
    assert refuse_unsound(pooled(said(LABELS, 3), said(TRUTH, 4)), LABELS) == []


@pytest.mark.parametrize("which", ["training", "test"])
def test_an_extra_that_is_constant_is_refused(which) -> None:
    oof, test = said(LABELS, 3), said(TRUTH, 4)
    flat = np.tile(np.float32([0.5, 0.3, 0.2]), (300 if which == "training" else 150, 1))
    pool = pooled(flat, test) if which == "training" else pooled(oof, flat)
    with pytest.raises(DataError, match=f"friend has the same .* in all .* {which} rows"):
        refuse_unsound(pool, LABELS)


def test_an_extra_with_training_rows_in_disorder_is_refused() -> None:
    order = np.random.default_rng(0).permutation(300)
    with pytest.raises(DataError, match="friend is right on .*no better than guessing"):
        refuse_unsound(pooled(said(LABELS, 3)[order], said(TRUTH, 4)), LABELS)


def test_an_extra_with_columns_in_another_order_is_refused() -> None:
    turned = said(LABELS, 3)[:, [1, 2, 0]], said(TRUTH, 4)[:, [1, 2, 0]]
    with pytest.raises(DataError, match="rows or columns are in another order"):
        refuse_unsound(pooled(*turned), LABELS)


def test_an_extra_with_test_rows_in_disorder_is_refused() -> None:
    order = np.random.default_rng(0).permutation(150)
    with pytest.raises(DataError, match=r"in \d\d\.\d% of the test rows, no more than by chance"):
        refuse_unsound(pooled(said(LABELS, 3), said(TRUTH, 4)[order]), LABELS)


def test_an_extra_with_part_of_the_test_rows_in_disorder_is_named() -> None:
    test = said(TRUTH, 4)
    test[:75] = test[np.random.default_rng(0).permutation(75)]
    (remark,) = refuse_unsound(pooled(said(LABELS, 3), test), LABELS)
    assert remark.startswith("warning: friend names the same class as our own members in ")
