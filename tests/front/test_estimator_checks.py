"""scikit-learn's own checks of an estimator; none of them is expected to fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import kaggle_digits as kd

SMALL = kd.TrainingConfig(filters=4, depth=1, augmentation="none", batch_size=16)

LEARN = {"check_classifiers_classes", "check_classifiers_train"}
"""Those that ask for labels that are mostly right, which no network says after one epoch."""

LONG = {
    "check_classifier_data_not_an_array", "check_classifiers_classes", "check_classifiers_train",
    "check_dont_overwrite_attributes", "check_dont_overwrite_parameters", "check_dtype_object",
    "check_estimators_dtypes", "check_estimators_fit_returns_self", "check_estimators_nan_inf",
    "check_estimators_overwrite_params", "check_estimators_pickle",
    "check_f_contiguous_array_estimator", "check_fit2d_1feature",
    "check_fit_idempotent", "check_fit_score_takes_y", "check_methods_sample_order_invariance",
    "check_methods_subset_invariance", "check_n_features_in", "check_pipeline_consistency",
    "check_positive_only_tag_during_fit", "check_readonly_memmap_input", "check_supervised_y_2d",
}  # fmt: skip
"""Those that fit more than one or two ensembles."""


def checks() -> Iterator[Any]:
    """All of the installed version's checks, the long ones marked."""
    model = kd.DigitsClassifier(SMALL, folds=2, epochs=1, random_state=0)
    names, pairs = parametrize_with_checks([model]).args
    assert names == "estimator, check"
    for estimator, check in pairs:
        name = check.func.__name__
        marks = pytest.mark.slow if name in LONG else ()
        yield pytest.param(estimator, check, marks=marks, id=name)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    if check.func.__name__ in LEARN:
        estimator.set_params(epochs=40)
    check(estimator)
