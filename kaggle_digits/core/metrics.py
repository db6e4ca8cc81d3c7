"""What a competition is scored by: metrics of probabilities as scikit-learn has them, and noise.

Accuracy and log-loss are means over rows and have a formula for their standard error; of the others
it is the standard deviation over bootstrap samples of the rows (Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", chapter 6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_digits.core.predictions import error_of_mean, score
from kaggle_digits.ground import seeds
from kaggle_digits.ground.competition import as_number
from kaggle_digits.ground.errors import ConfigurationError, shorten
from kaggle_digits.ground.figures import Figure
from kaggle_digits.ground.names import METRICS, require_known

_SAMPLES = 100
_ROUNDS = 4
_DEALT = 4
_PLACES = 61
"""Places that a threshold is tried at, evenly between its neighbours."""


def require_possible(name: str, classes: Sequence[str]) -> None:
    """Refuse a metric that says nothing of such classes.

    Raises:
        ConfigurationError: It is unknown, or wants classes in an order, which numbers have.
    """
    require_known("metric", name, METRICS)
    if name == "qwk" and any(as_number(label) is None for label in classes):
        raise ConfigurationError(
            f"--metric qwk was given for the classes {shorten(classes)}; expected numbers, whose "
            "order it counts.",
            mend="Give another --metric, such as macro-f1.",
        )


def measure(
    name: str, probabilities: np.ndarray, labels: np.ndarray, answers: np.ndarray | None = None
) -> float:
    """Return a metric's value.

    Args:
        name: One of `names.METRICS`.
        probabilities: float [n, classes], rows that sum to 1.
        labels: int64 [n], class indices.
        answers: int64 [n], the class named for each row; None for the most probable one.
    """
    named = probabilities.argmax(axis=1) if answers is None else answers
    match name:
        case "accuracy":
            return float(np.mean(named == labels))
        case "log-loss":
            return score(probabilities, labels).log_loss
        case "macro-f1":
            return _macro_f1(labels, named, probabilities.shape[1])
        case "qwk":
            return _kappa(labels, named, probabilities.shape[1])
        case _:
            return _auc(probabilities, labels)


def figure(
    name: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    answers: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Figure:
    """Return a metric's value with its standard error; other arguments as `measure`'s.

    Args:
        name: One of `names.METRICS`.
        probabilities: float [n, classes].
        labels: int64 [n], class indices.
        answers: int64 [n], the class named for each row; None for the most probable one.
        groups: int64 [n], what rows have in common that are right and wrong together; the samples
            are then of groups. None for rows on their own.
    """
    if name not in ("accuracy", "log-loss"):
        return on_samples(name, probabilities, labels, answers, groups)[0]
    value, rows = measure(name, probabilities, labels, answers), len(labels)
    if name == "accuracy" and groups is not None:
        named = probabilities.argmax(axis=1) if answers is None else answers
        right = (named == labels).astype(np.float64)
        return Figure(name, value, error_of_mean(right, groups), rows)
    if name == "accuracy":
        return Figure(name, value, float(np.sqrt(value * (1 - value) / rows)), rows)
    return Figure(name, value, score(probabilities, labels, groups).log_loss_se, rows)


def on_samples(
    name: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    answers: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> tuple[Figure, np.ndarray]:
    """Return a metric's figure by bootstrap, and its values on the samples, float64 [samples].

    The samples are the same ones every time, so that predictions can be compared pair by pair. The
    arguments are `figure`'s.
    """
    found = [
        measure(name, probabilities[some], labels[some], None if answers is None else answers[some])
        for some in samples(len(labels), groups)
    ]
    value = measure(name, probabilities, labels, answers)
    return Figure(name, value, float(np.std(found, ddof=1)), len(labels)), np.array(found)


def judged(
    name: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
) -> Figure:
    """Return a metric's honest value with its standard error.

    Args:
        name: One of `names.METRICS`.
        probabilities: float [n, classes].
        labels: int64 [n], class indices.
        folds: int64 [n], as of `honest_answers`.
        groups: int64 [n], as of `figure`.
    """
    answers = honest_answers(name, probabilities, labels, folds)
    return figure(name, probabilities, labels, answers, groups)


def honest_answers(
    name: str, probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray
) -> np.ndarray | None:
    """Return the classes that a metric's thresholds name, each row's fitted without its fold.

    Args:
        name: One of `names.METRICS`.
        probabilities: float [n, classes].
        labels: int64 [n], class indices.
        folds: int64 [n], which rows are judged together; two folds or more.

    Returns:
        int64 [n]; None for a metric without thresholds, of which the most probable are named.
    """
    if name != "qwk":
        return None
    answers = np.empty(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        held_out = folds == fold
        found = fit_thresholds(probabilities[~held_out], labels[~held_out])
        answers[held_out] = named_by(found, probabilities[held_out])
    return answers


def dealt(rows: int) -> np.ndarray:
    """Return a fold for each of so many rows that have none, dealt in turn, int64 [rows]."""
    return np.arange(rows) % _DEALT


def samples(rows: int, groups: np.ndarray | None = None) -> list[np.ndarray]:
    """Return bootstrap samples of rows, the same ones every time, int64 [rows] each.

    Args:
        rows: How many there are.
        groups: int64 [rows]: draw whole groups, as many as there are; None to draw rows.
    """
    random = np.random.default_rng(seeds.FIXED)
    if groups is not None:
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        count = len(members)
        return [
            np.concatenate([members[place] for place in random.integers(0, count, count)])
            for _ in range(_SAMPLES)
        ]
    return [random.integers(0, rows, rows) for _ in range(_SAMPLES)]


def fit_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Return where the expected class is cut into classes, so that the kappa is highest.

    Class k is named where the expected class index lies between thresholds k - 1 and k. From the
    middles, each threshold in turn takes the best of places between its neighbours.

    Args:
        probabilities: float [n, classes].
        labels: int64 [n].
    """
    expected, classes = _expected(probabilities), probabilities.shape[1]
    cuts = [place + 0.5 for place in range(classes - 1)]
    best = _kappa(labels, np.digitize(expected, cuts), classes)
    for _ in range(_ROUNDS):
        before = best
        for place in range(len(cuts)):
            low = cuts[place - 1] if place else 0.0
            high = cuts[place + 1] if place + 1 < len(cuts) else classes - 1.0
            for tried in np.linspace(low, high, _PLACES)[1:-1].tolist():
                changed = [*cuts[:place], tried, *cuts[place + 1 :]]
                found = _kappa(labels, np.digitize(expected, changed), classes)
                if found > best + 1e-12:
                    best, cuts = found, changed
        if best <= before:
            break
    return tuple(cuts)


def named_by(thresholds: Sequence[float] | None, probabilities: np.ndarray) -> np.ndarray:
    """Return the class that thresholds give each row, the most probable for None, int64 [n]."""
    named: np.ndarray = (
        probabilities.argmax(axis=1)
        if thresholds is None
        else np.digitize(_expected(probabilities), thresholds)
    )
    return named.astype(np.int64)


def _expected(probabilities: np.ndarray) -> np.ndarray:
    expected: np.ndarray = probabilities.astype(np.float64) @ np.arange(probabilities.shape[1])
    return expected


def _kappa(labels: np.ndarray, named: np.ndarray, classes: int) -> float:
    """Return Cohen's kappa with quadratic weights, as `sklearn.metrics.cohen_kappa_score`."""
    table = np.bincount(labels * classes + named, minlength=classes * classes)
    counts = table.reshape(classes, classes).astype(np.float64)
    places = np.arange(classes)
    weights = (places[:, np.newaxis] - places) ** 2
    by_chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    expected = float((weights * by_chance).sum())
    return 1 - float((weights * counts).sum()) / expected if expected else 1.0


def _macro_f1(labels: np.ndarray, named: np.ndarray, classes: int) -> float:
    """Return the mean F1 of the classes there or named, as `sklearn.metrics.f1_score`."""
    right = np.bincount(labels[labels == named], minlength=classes)
    there, told = (np.bincount(one, minlength=classes) for one in (labels, named))
    some = there + told > 0
    return float(np.mean(2 * right[some] / (there[some] + told[some])))


def _auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the area under the ROC curve; of more than two classes, the mean of each's own.

    By ranks (Mann and Whitney 1947), as `sklearn.metrics.roc_auc_score`, whose checks of what it is
    given would take most of the time of bootstrap samples.
    """
    from scipy.stats import rankdata

    columns = probabilities[:, 1:] if probabilities.shape[1] == 2 else probabilities
    first = probabilities.shape[1] - columns.shape[1]
    is_one = labels[:, np.newaxis] == np.arange(first, probabilities.shape[1])
    ones = is_one.sum(axis=0)
    some = (ones > 0) & (ones < len(labels))
    if not some.any():
        return 0.5
    ranks = rankdata(columns[:, some], axis=0)
    ones = ones[some].astype(np.float64)
    above = (ranks * is_one[:, some]).sum(axis=0) - ones * (ones + 1) / 2
    return float(np.mean(above / (ones * (len(labels) - ones))))
