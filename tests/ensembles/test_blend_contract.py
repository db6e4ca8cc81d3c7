"""What every blending method promises, and that what is fitted is the optimum it is said to be."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ensembles import fitting
from ensembles.methods import METHODS, calibrate
from ensembles.rules import LinearRule, LogLinearRule, PowerRule, VoteRule
from kaggle_digits.core import calibration

FITTED = [name for name, method in METHODS.items() if method.is_fitted]


def drawn(members: int = 4, rows: int = 240, classes: int = 3, seed: int = 0):
    """Members around a truth they half know: float32 [members, rows, classes], and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    logits = 1.5 * np.eye(classes)[labels] + random.normal(size=(members, rows, classes))
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(axis=2, keepdims=True)).astype(np.float32), labels


@pytest.fixture(params=[*METHODS, *(f"{name}+T" for name in METHODS)])
def fit(request):
    """From probabilities and labels to a rule, for every method with and without a temperature."""
    name, plus, _ = request.param.partition("+")

    def fitted(probabilities, labels):
        rule = METHODS[name].fit(probabilities, labels)
        return calibrate(rule, rule.apply(probabilities), labels) if plus else rule

    fitted.name = name
    fitted.temperature = bool(plus)
    return fitted


def test_rows_sum_to_one_in_float64(fit):
    probabilities, labels = drawn()
    others, _ = drawn(seed=1)
    others[0, :5] = np.eye(3)[0]  # a softmax can be exactly 0 and 1
    others[1, :5] = np.eye(3)[1]
    for array in (others, others.astype(np.float64)):
        joined = fit(probabilities, labels).apply(array)
        assert joined.dtype == np.float64 and joined.shape == (240, 3)
        assert joined.min() >= 0
        np.testing.assert_allclose(joined.sum(axis=1), 1, rtol=0, atol=1e-12)


def test_the_order_of_members_does_not_matter(fit):
    probabilities, labels = drawn(5)
    order = np.array([3, 0, 4, 2, 1])
    rule, permuted = fit(probabilities, labels), fit(probabilities[order], labels)
    np.testing.assert_allclose(
        permuted.apply(probabilities[order]), rule.apply(probabilities), rtol=0, atol=1e-6
    )
    if rule.weights is not None:
        np.testing.assert_allclose(
            permuted.weights, np.array(rule.weights)[order], rtol=0, atol=1e-6
        )


def test_members_that_are_the_same_are_that_member(fit):
    one, labels = drawn(1)
    joined = fit(np.repeat(one, 4, axis=0), labels).apply(np.repeat(one, 4, axis=0))
    assert_is_one_member(joined, one[0], fit)


def test_one_member_is_itself(fit):
    one, labels = drawn(1)
    assert_is_one_member(fit(one, labels).apply(one), one[0], fit)


def assert_is_one_member(joined, member, fit):
    if fit.name in ("stack", "weighted", "greedy"):
        # They calibrate by themselves: a monotone change of the log-odds and, of stack, a bias.
        odds = np.log(joined) - np.log(joined[:, :1])
        before = np.log(member.astype(float)) - np.log(member[:, :1].astype(float))
        for column in (1, 2):
            slope, shift = np.polyfit(before[:, column], odds[:, column], 1)
            assert slope > 0 and (fit.name == "stack" or abs(shift) < 1e-4)
            np.testing.assert_allclose(
                odds[:, column], slope * before[:, column] + shift, atol=1e-4
            )
    elif fit.temperature:
        assert (joined.argmax(axis=1) == member.argmax(axis=1)).all()
        ratio = np.log(joined[:, 1] / joined[:, 0]) / np.log(member[:, 1] / member[:, 0])
        np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)  # one temperature for all
    else:
        np.testing.assert_allclose(joined, member, rtol=0, atol=1e-6)


def test_the_same_twice(fit):
    probabilities, labels = drawn()
    first, second = fit(probabilities, labels), fit(probabilities, labels)
    assert first == second and first.to_json() == second.to_json()
    assert np.array_equal(first.apply(probabilities), second.apply(probabilities))


def test_only_the_fitted_methods_look_at_labels():
    probabilities, labels = drawn()
    for name, method in METHODS.items():
        same = method.fit(probabilities, labels) == method.fit(probabilities, 2 - labels)
        assert same is not method.is_fitted, name


def test_the_arrays_given_are_left_as_they_are(fit):
    probabilities, labels = drawn()
    before = probabilities.copy()
    fit(probabilities, labels).apply(probabilities)
    assert np.array_equal(probabilities, before)


def test_means_on_numbers_worked_out_by_hand():
    two = np.array([[[0.5, 0.4, 0.1]], [[0.2, 0.2, 0.6]]])
    np.testing.assert_allclose(LinearRule((0.25, 0.75)).apply(two), [[0.275, 0.25, 0.475]])
    roots = np.sqrt([0.1, 0.08, 0.06])
    geometric = LogLinearRule((0.5, 0.5), (0.0, 0.0, 0.0))
    np.testing.assert_allclose(geometric.apply(two)[0], roots / roots.sum())
    np.testing.assert_allclose(PowerRule(0.0).apply(two), geometric.apply(two))
    np.testing.assert_allclose(PowerRule(1.0).apply(two), [[0.35, 0.3, 0.35]])
    squares = np.sqrt([0.29, 0.2, 0.37])
    np.testing.assert_allclose(PowerRule(2.0).apply(two)[0], squares / squares.sum())


def test_votes_and_ties():
    # Two unsure members outvote a sure one.
    three = np.array([[[0.51, 0.49, 0]], [[0.51, 0.49, 0]], [[0.0, 1.0, 0]]])
    np.testing.assert_allclose(VoteRule().apply(three), [[0.51, 0.49, 0]])
    # One vote each: the mean probability decides, here for the second member's class.
    tie = np.array([[[0.4, 0.3, 0.3]], [[0.1, 0.8, 0.1]]])
    np.testing.assert_allclose(VoteRule().apply(tie), [[0.1, 0.8, 0.1]])
    # A class nobody votes for cannot win, however probable it is on average.
    split = np.array([[[0.5, 0.45, 0.05]], [[0.05, 0.45, 0.5]]])
    assert VoteRule().apply(split).argmax() in (0, 2)


@pytest.mark.parametrize(("members", "rows"), [(2, 40), (5, 300), (30, 300)])
def test_convex_weights_are_the_optimum(members, rows):
    """At the optimum no member's mean ratio p/q is above 1; the excess bounds the distance in nats.

    log-loss(w) - minimum <= ln(1 + excess), from concavity of the logarithm.
    """
    probabilities, labels = drawn(members, rows)
    weights = fitting.mixture_weights(probabilities, labels)
    of_label = probabilities[:, np.arange(rows), labels].astype(np.float64)
    excess = (of_label / (weights @ of_label)).mean(axis=1).max() - 1
    assert excess < 1e-6
    assert weights.min() >= 0 and abs(weights.sum() - 1) < 1e-12


def test_stack_is_the_penalised_optimum():
    probabilities, labels = drawn(4, 300)
    weights, bias = fitting.log_linear(probabilities, labels, strength=5.0)
    logs = np.log(probabilities.astype(np.float64))

    def objective(at: np.ndarray) -> float:
        logits = np.tensordot(at[:4], logs, 1) + at[4:]
        of_label = logits[np.arange(300), labels] - np.log(np.exp(logits).sum(axis=1))
        away = at - np.array([0.25] * 4 + [0.0] * 3)
        return float(-of_label.sum() + 2.5 * away @ away)

    at = np.concatenate([weights, bias])
    slopes = [
        (objective(at + 1e-4 * step) - objective(at - 1e-4 * step)) / 2e-4 for step in np.eye(7)
    ]
    assert np.abs(slopes).max() < 0.05  # the objective is near 200


def test_temperature_is_the_optimum():
    probabilities, labels = drawn(1, 2000)
    sharp = METHODS["power"].fit(probabilities, labels).apply(probabilities) ** 2.5
    sharp /= sharp.sum(axis=1, keepdims=True)

    def loss(temperature: float) -> float:
        powers = sharp ** (1 / temperature)
        powers /= powers.sum(axis=1, keepdims=True)
        return float(-np.log(powers[np.arange(2000), labels]).mean())

    found = calibration.best_temperature(sharp, labels)
    grid = np.geomspace(0.2, 8, 400)
    assert loss(found) <= min(map(loss, grid)) + 1e-9


@pytest.mark.parametrize("name", FITTED)
def test_sure_and_always_right_or_wrong_members_are_survived(name):
    """Probabilities of exactly 0 and 1, labels that nobody allowed: finite, no warning."""
    labels = np.arange(60) % 3
    right, wrong = np.eye(3)[labels], np.eye(3)[(labels + 1) % 3]
    for members in ([right, wrong], [wrong, wrong], [right, right]):
        probabilities = np.stack(members).astype(np.float32)
        rule = METHODS[name].fit(probabilities, labels)
        calibrated = calibrate(rule, rule.apply(probabilities), labels)
        assert np.isfinite(calibrated.apply(probabilities)).all()
    rule = METHODS[name].fit(np.stack([right, wrong]).astype(np.float32), labels)
    joined = rule.apply(np.stack([right, wrong]).astype(np.float32))
    if name != "power":  # which cannot prefer a member
        assert (joined.argmax(axis=1) == labels).all()


def test_blending_needs_no_network_library():
    code = (
        "import sys, ensembles.tables, ensembles.blending, ensembles.extra\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" in out.stdout.split()
    assert {"tensorflow", "keras", "albumentations"}.isdisjoint(out.stdout.split())
