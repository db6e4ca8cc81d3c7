"""Metrics: scikit-learn's values, their noise, and thresholds that are fitted honestly."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from ensembles.blending import Blend, scored_by
from ensembles.by_metric import Judge
from ensembles.evaluation import choose_by, evaluate
from ensembles.methods import METHODS as WAYS
from kaggle_digits.core.metrics import (
    figure,
    fit_thresholds,
    measure,
    named_by,
    require_possible,
)
from kaggle_digits.core.predictions import score, softmax64
from kaggle_digits.ground.competition import sort_classes
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.figures import higher_is_better
from kaggle_digits.ground.names import METRICS


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += 1.5
    return softmax64(logits), labels


@pytest.mark.parametrize("classes", [2, 5])
def test_the_values_are_those_of_scikit_learn(classes) -> None:
    probabilities, labels = drawn(400, classes)
    named = probabilities.argmax(axis=1)
    auc = (
        metrics.roc_auc_score(labels, probabilities[:, 1])
        if classes == 2
        else metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    wanted = {
        "accuracy": metrics.accuracy_score(labels, named),
        "log-loss": metrics.log_loss(labels, probabilities),
        "macro-f1": metrics.f1_score(labels, named, average="macro"),
        "auc": auc,
        "qwk": metrics.cohen_kappa_score(labels, named, weights="quadratic"),
    }
    assert set(wanted) == set(METRICS)
    for name, value in wanted.items():
        assert measure(name, probabilities, labels) == pytest.approx(value, abs=1e-9), name


def test_macro_f1_counts_a_class_that_is_named_and_not_there() -> None:
    labels, named = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 2, 1, 1, 0, 0])
    probabilities = np.eye(4)[named]
    wanted = metrics.f1_score(labels, named, average="macro")
    assert measure("macro-f1", probabilities, labels) == pytest.approx(wanted, abs=1e-12)
    assert wanted == pytest.approx((4 / 6 + 4 / 5 + 0) / 3)
    # One that is neither there nor named counts for nothing.
    assert measure("macro-f1", np.eye(4)[labels], labels) == 1


def test_the_noise_is_what_other_rows_bring() -> None:
    """Against the spread over many draws of the same kind."""
    for name in ("macro-f1", "auc", "qwk"):
        values = [measure(name, *drawn(200, 3, seed)) for seed in range(60)]
        told = np.mean([figure(name, *drawn(200, 3, seed)).se for seed in range(2)])
        assert 0.7 < told / np.std(values) < 1.4, name
    probabilities, labels = drawn(300, 3)
    judged = score(probabilities, labels)
    assert figure("accuracy", probabilities, labels).se == judged.accuracy_se
    assert figure("log-loss", probabilities, labels).se == judged.log_loss_se


def ordered(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return classes of unequal size on a line, and probabilities that are drawn to the middle."""
    random = np.random.default_rng(seed)
    labels = random.choice(5, rows, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    seen = 0.6 * labels + 1 + random.normal(0, 0.6, rows)
    logits = -((seen[:, np.newaxis] - np.arange(5)) ** 2) / 6
    return softmax64(logits), labels


def test_thresholds_bring_more_than_the_most_probable_class_on_other_rows() -> None:
    thresholds = fit_thresholds(*ordered(1500))
    assert list(thresholds) == sorted(thresholds) and len(thresholds) == 4
    probabilities, labels = ordered(1500, seed=1)
    with_cuts = measure("qwk", probabilities, labels, named_by(thresholds, probabilities))
    assert with_cuts > measure("qwk", probabilities, labels) + 0.02


def test_the_figure_of_thresholds_is_honest() -> None:
    """Of predictions that say nothing, thresholds fitted on the same rows would say something."""
    random = np.random.default_rng(0)
    probabilities, labels = softmax64(random.normal(size=(48, 6))), random.integers(0, 6, 48)
    flattering = named_by(fit_thresholds(probabilities, labels), probabilities)
    same = measure("qwk", probabilities, labels, flattering)
    entry = evaluate(WAYS["mean"], probabilities[np.newaxis], labels, np.arange(48) % 4)
    judged = entry.plain
    blend = Blend("mean", judged.rule, judged.oof, judged.oof[:7], judged.honest, judged.fitted)
    found = scored_by("qwk", blend, labels, np.arange(48) % 4)
    assert found.metric is not None and found.thresholds is not None
    assert found.metric.value < 0.15 < same
    assert found.answers.tolist() == named_by(found.thresholds, judged.oof[:7]).tolist()
    plain = scored_by("auc", blend, labels, np.arange(48) % 4)
    assert plain.thresholds is None
    assert plain.answers.tolist() == judged.oof[:7].argmax(axis=1).tolist()


def test_a_blend_is_chosen_by_the_metric() -> None:
    """Beside noise a member is weighted; of two equals the mean is as good and simpler."""
    good, labels = drawn(600, 2)
    noise = softmax64(np.random.default_rng(5).normal(size=(600, 2)) * 3)
    folds = np.arange(600) % 3

    def chosen(first: np.ndarray, second: np.ndarray) -> str:
        pool = np.stack([first, second])
        ways = [evaluate(WAYS[name], pool, labels, folds) for name in ("mean", "weighted")]
        return choose_by(Judge("auc", labels, folds), ways).method.name

    assert chosen(good, noise) == "weighted"
    assert chosen(good, good) == "mean"


def test_a_blend_is_chosen_by_kappa_as_thresholds_make_it() -> None:
    """Whoever knows the order and never names an end is better than whoever guesses half."""
    labels, folds = np.arange(400) % 4, np.arange(400) % 5
    share = labels * 0.15
    shy = np.stack([0 * share, 1 - share, share, 0 * share], axis=1)
    bold = np.full((400, 4), 0.1)
    bold[np.arange(400), np.where(np.arange(400) % 3, labels, labels[::-1])] = 0.7

    def entry(name: str, oof: np.ndarray) -> Any:
        return SimpleNamespace(method=name, calibrated=SimpleNamespace(oof=oof))

    assert measure("qwk", shy, labels) == 0 < measure("qwk", bold, labels)
    found = choose_by(Judge("qwk", labels, folds), [entry("bold", bold), entry("shy", shy)])
    assert found.method == "shy"


def test_what_a_metric_wants_of_classes() -> None:
    for name in METRICS:
        require_possible(name, ("0", "1", "2"))
    require_possible("qwk", ("-1.5", "2.0", "10.0"))
    for classes in (("cat", "dog"), ("1", "nan"), ("1", "inf")):
        says = f"qwk was given for the classes {', '.join(classes)}"
        with pytest.raises(ConfigurationError, match=says):
            require_possible("qwk", classes)
    with pytest.raises(ConfigurationError, match="metric was given as 'f1'"):
        require_possible("f1", ("0", "1"))
    assert [name for name in METRICS if not higher_is_better(name)] == ["log-loss"]


def test_kappa_counts_the_order_of_numbers_however_they_are_written() -> None:
    random = np.random.default_rng(0)
    truth, named = random.integers(1, 11, (2, 200))

    def kappa(write: Callable[[int], str]) -> float:
        classes = sort_classes(map(write, range(1, 11)))
        labels, answers = (
            np.array([classes.index(write(n)) for n in one]) for one in (truth, named)
        )
        return measure("qwk", np.eye(10)[answers], labels)

    wanted = metrics.cohen_kappa_score(truth, named, weights="quadratic")
    assert kappa(str) == kappa("{}.0".format) == pytest.approx(wanted)
