"""Folds are stratified, stored and checked; scores agree with scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from kaggle_digits.core import predictions
from kaggle_digits.core.data import load
from kaggle_digits.core.folds import holdout, make_folds
from kaggle_digits.ground.errors import ArtefactError, DataError
from kaggle_digits.ground.files import write_json


def test_folds_are_stratified_and_cover_every_row_once(made, workspace):
    dataset = load(made.folder, workspace)
    folds = make_folds(dataset, 5, 0, workspace)
    for fold in range(5):
        held_out, training = folds.held_out_rows(fold), folds.training_rows(fold)
        assert np.bincount(dataset.labels[held_out]).tolist() == [2, 2, 2]
        assert sorted([*held_out, *training]) == list(range(30))


def test_folds_are_stored_once(made, workspace, monkeypatch):
    dataset = load(made.folder, workspace)
    first = make_folds(dataset, 3, 0, workspace)
    monkeypatch.setattr("kaggle_digits.core.folds.draw_folds", None)
    assert make_folds(dataset, 3, 0, workspace).digest == first.digest
    with pytest.raises(TypeError):
        make_folds(dataset, 3, 1, workspace)


def test_seeds_draw_different_folds(made, workspace):
    dataset = load(made.folder, workspace)
    assert (
        make_folds(dataset, 3, 0, workspace).digest != make_folds(dataset, 3, 1, workspace).digest
    )


def test_stored_folds_that_do_not_fit_are_refused(made, workspace):
    dataset = load(made.folder, workspace)
    make_folds(dataset, 3, 0, workspace)
    (path,) = (workspace.ensembles / "folds").glob("*.json")
    write_json(path, json.loads(path.read_text()) | {"of_row": [0, 1, 2]})
    with pytest.raises(ArtefactError, match="does not fit the data's 30 rows"):
        make_folds(dataset, 3, 0, workspace)


def test_too_few_rows_of_a_class(made, workspace):
    dataset = load(made.folder, workspace)
    with pytest.raises(DataError, match=r"fewer rows than the 11 folds: '0' \(10\), '1' \(10\)"):
        make_folds(dataset, 11, 0, workspace)


@pytest.mark.parametrize(("train", "held_out", "sizes"), [(60, 30, (60, 30)), (400, 200, (80, 40))])
def test_holdouts_are_disjoint_and_stratified(train, held_out, sizes):
    labels = np.repeat([0, 1], [80, 40])
    first, second = holdout(labels, train, held_out, 0)
    assert (len(first), len(second)) == sizes
    assert not set(first) & set(second)
    assert abs(labels[second].mean() - 1 / 3) < 0.02
    assert holdout(labels, train, held_out, 0)[0].tolist() == first.tolist()


def test_score_agrees_with_scikit_learn():
    random = np.random.default_rng(0)
    probabilities = predictions.softmax(random.normal(size=(500, 4)) * 3)
    labels = random.integers(0, 4, 500)
    judged = predictions.score(probabilities, labels)
    assert judged.accuracy == pytest.approx(accuracy_score(labels, probabilities.argmax(axis=1)))
    assert judged.log_loss == pytest.approx(log_loss(labels, probabilities), rel=1e-6)
    losses = -np.log(probabilities[np.arange(500), labels].astype(float))
    assert judged.log_loss_se == pytest.approx(losses.std(ddof=1) / np.sqrt(500))
    p = judged.accuracy
    assert judged.accuracy_se == pytest.approx(np.sqrt(p * (1 - p) / 500))


def test_softmax_of_large_logits_is_finite():
    rows = predictions.softmax(np.asarray([[1000.0, 0.0], [-1000.0, -1000.0]]))
    assert rows.tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[0.5, 0.5]], "has shape"),
        ([[0.5, 0.5], [0.7, 0.7]], "row 1 is no probability distribution"),
        ([[0.5, 0.5], [1.5, -0.5]], "row 1 is no"),
        ([[float("nan"), 0.5], [0.5, 0.5]], "row 0 is no"),
    ],
)
def test_what_is_no_softmax_is_refused(rows, says):
    with pytest.raises(ArtefactError, match=says):
        predictions.require_softmax(np.asarray(rows), (2, 2), "it")
