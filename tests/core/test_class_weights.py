"""Class weights: scikit-learn's values, on every batch, and other networks than without."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.batches import Batches, balanced
from kaggle_digits.core.data import load
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [70, 25, 5])
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    found = balanced(np.eye(4, dtype=np.float32)[labels])
    np.testing.assert_allclose(found, [*wanted, 0], rtol=1e-6)  # the fourth class has no row
    assert found[labels].mean() == pytest.approx(1)


def test_only_what_is_weighted_has_another_name() -> None:
    plain = TrainingConfig()
    weighted = TrainingConfig(class_weights="balanced")
    assert "class_weights" not in plain.to_json() and plain.digest != weighted.digest
    assert TrainingConfig.from_json(weighted.to_json()) == weighted
    with pytest.raises(ConfigurationError, match="class_weights was given as 'balance'"):
        TrainingConfig(class_weights="balance")


def batches(made, workspace, **config) -> Batches:
    dataset = load(made.folder, workspace)
    chosen = TrainingConfig(augmentation="none", batch_size=16, **config)
    rows = np.arange(len(dataset.labels))
    job = TrainingJob("a job", chosen, rows, rows[:0], 1, 1, 0, predict_test=False)
    return Batches(job, dataset, Bank.of(chosen, dataset, 0, workspace))


def test_each_row_has_its_class_weight(make, workspace) -> None:
    made = make(rows=64, classes=("0", "0", "0", "1"))
    made.classes = ("0", "1")
    plain = next(iter(batches(made, workspace).after(0)))
    assert len(plain) == 2
    images, targets, weights = next(
        iter(batches(made, workspace, class_weights="balanced").after(0))
    )
    np.testing.assert_array_equal(images, plain[0])
    np.testing.assert_allclose(weights, np.where(targets[:, 1] > 0, 2, 2 / 3), rtol=1e-6)


def test_a_mixed_image_has_the_mean_of_both_weights(make, workspace) -> None:
    made = make(rows=64, classes=("0", "0", "0", "1"))
    fed = batches(made, workspace, class_weights="balanced", mixup=1.0)
    _, targets, weights = next(iter(fed.after(0)))
    assert targets[:, 1].max() > 0 and not set(np.unique(targets)) <= {0.0, 1.0}
    np.testing.assert_allclose(weights, targets @ np.array([2 / 3, 2]), rtol=1e-5)
