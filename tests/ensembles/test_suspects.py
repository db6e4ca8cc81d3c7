"""Planted wrong labels, images that come twice, and test images in doubt are found."""

from __future__ import annotations

import numpy as np
import pytest

from ensembles.suspects import hesitations, suspects
from kaggle_digits.core.predictions import softmax


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_wrong_labels_stand_first_whatever_the_smoothing(smoothing):
    random = np.random.default_rng(0)
    truth = np.arange(2000) % 10
    probabilities = softmax(6 * np.eye(10)[truth] + random.normal(size=(2000, 10)))
    probabilities = (1 - smoothing) * probabilities + smoothing / 10
    given = truth.copy()
    planted = random.choice(2000, 20, replace=False)
    given[planted] = (given[planted] + random.integers(1, 10, 20)) % 10
    found = suspects(probabilities, given)
    assert np.isin(found.rows[:20], planted).sum() >= 18
    assert (found.suggested[:20] == truth[found.rows[:20]]).sum() >= 18
    assert found.confident[:10].all() and (np.diff(found.margins) >= 0).all()
    assert (found.margins < 0).all() and len(np.unique(found.rows)) == len(found.rows)


def test_a_class_without_rows_marks_nothing():
    found = suspects(np.array([[0.1, 0.2, 0.7], [0.2, 0.7, 0.1]]), np.array([0, 1]))
    assert found.rows.tolist() == [0] and found.suggested.tolist() == [2]
    assert not found.confident.any()


def test_no_suspects_where_all_is_right():
    assert len(suspects(np.eye(3), np.arange(3)).rows) == 0


def test_hesitations_are_where_two_classes_are_nearest():
    given = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [0.34, 0.33, 0.33], [0.5, 0.5, 0.0]])
    assert hesitations(given, 3).tolist() == [3, 2, 1]
