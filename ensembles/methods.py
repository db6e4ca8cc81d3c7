"""The blending methods: each fits a rule to out-of-fold predictions and labels.

In order of simplicity: how many numbers are fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ensembles.fitting import (
    best_exponent,
    greedy_weights,
    log_linear,
    member_temperatures,
    mixture_weights,
)
from ensembles.rules import (
    CalibratedRule,
    EvenedRule,
    LinearRule,
    LogLinearRule,
    PowerRule,
    Rule,
    VoteRule,
    evened,
)
from kaggle_digits.core.calibration import best_temperature


@dataclass(frozen=True, slots=True)
class Method:
    """A way to join members.

    Args:
        name: Its name on the command line.
        is_fitted: Whether its rule depends on the labels.
        fit: From probabilities, float [members, rows, classes], and labels, int64 [rows], to the
            rule. Methods that are not fitted look at the shape only.
    """

    name: str
    is_fitted: bool
    fit: Callable[[np.ndarray, np.ndarray], Rule]


def calibrate(rule: Rule, joined: np.ndarray, labels: np.ndarray) -> CalibratedRule:
    """Put a temperature on a rule.

    Args:
        rule: The rule.
        joined: What it gives for the rows the temperature is fitted on, float64 [rows, classes].
        labels: int64 [rows].
    """
    return CalibratedRule(rule, best_temperature(joined, labels))


def _mean(probabilities: np.ndarray, labels: np.ndarray) -> Rule:
    members = len(probabilities)
    return LinearRule((1 / members,) * members)


def _geometric(probabilities: np.ndarray, labels: np.ndarray) -> Rule:
    members, _, classes = probabilities.shape
    return LogLinearRule((1 / members,) * members, (0.0,) * classes)


def _vote(probabilities: np.ndarray, labels: np.ndarray) -> Rule:
    return VoteRule()


def _power(probabilities: np.ndarray, labels: np.ndarray) -> Rule:
    return PowerRule(best_exponent(probabilities, labels))


def _weighted(probabilities: np.ndarray, labels: np.ndarray) -> Rule:
    return _on_evened(mixture_weights, probabilities, labels)


def _greedy(probabilities: np.ndarray, labels: np.ndarray) -> Rule:
    return _on_evened(greedy_weights, probabilities, labels)


def _on_evened(
    fit: Callable[[np.ndarray, np.ndarray], np.ndarray],
    probabilities: np.ndarray,
    labels: np.ndarray,
) -> Rule:
    temperatures = member_temperatures(probabilities, labels)
    weights = fit(evened(probabilities, temperatures), labels)
    return EvenedRule(LinearRule(_as_tuple(weights)), temperatures)


def _stack(probabilities: np.ndarray, labels: np.ndarray) -> Rule:
    weights, bias = log_linear(probabilities, labels)
    return LogLinearRule(_as_tuple(weights), _as_tuple(bias))


def _as_tuple(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


# By name, the simplest first.
METHODS = {
    method.name: method
    for method in (
        Method("mean", is_fitted=False, fit=_mean),
        Method("geometric", is_fitted=False, fit=_geometric),
        Method("vote", is_fitted=False, fit=_vote),
        Method("power", is_fitted=True, fit=_power),
        Method("weighted", is_fitted=True, fit=_weighted),
        Method("greedy", is_fitted=True, fit=_greedy),
        Method("stack", is_fitted=True, fit=_stack),
    )
}
