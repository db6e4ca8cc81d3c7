"""Fitting: the numbers in a rule, found from out-of-fold predictions and labels.

Everything here is deterministic, treats members alike whatever their order, and gives members that
are the same equal shares.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ensembles.rules import power_logits
from kaggle_digits.core.calibration import best_temperature
from kaggle_digits.core.predictions import SMALLEST, logarithm, softmax64
from kaggle_digits.ground import seeds

_CHUNK = 1024
_ROWS_FOR_TEMPERATURES = 3_000
_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


def member_temperatures(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Return the temperature of each member that has the lowest log-loss.

    Weights that minimise log-loss need it: of members trained with and without label smoothing,
    those without are surer and would get all the weight, however many more rows they get wrong
    (on real members: 52 errors more than plain averaging, of 42,000).

    Args:
        probabilities: float [members, rows, classes].
        labels: int64 [rows]. At most 3,000 evenly spaced rows are looked at.
    """
    step = -(-len(labels) // _ROWS_FOR_TEMPERATURES)
    return tuple(best_temperature(member[::step], labels[::step]) for member in probabilities)


def mixture_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the convex weights whose mean of members has the lowest log-loss.

    The problem is convex. It is solved with a logarithmic barrier and Newton steps (Boyd,
    Vandenberghe: Convex Optimization (2004), section 11.3), in the form without the sum constraint:
    at the minimum of mean(-ln(w·p)) + sum(w) over w >= 0 the weights sum to 1 (Kim, Carbonetto,
    Stephens, Anitescu: A Fast Algorithm for Maximum Likelihood Estimation of Mixture Proportions
    (2020), section 2). The result is within 1e-6 nats of the minimum.

    Args:
        probabilities: float [members, rows, classes].
        labels: int64 [rows].

    Returns:
        float64 [members], none negative, together 1.
    """
    of_label = np.maximum(_of_label(probabilities, labels), SMALLEST)
    single = of_label.astype(np.float32)
    members = len(of_label)
    weights = np.full(members, 1 / members)
    for power in range(1, 9):
        barrier = 0.1**power / members
        # On the way the centre is only neared; at the end it is found, which makes the bound true.
        near = members * barrier * (1e-4 if power == 8 else 1)
        for _ in range(30):
            inverse = 1 / (weights @ of_label)
            slope = 1 - of_label @ inverse / len(labels) - barrier / weights
            # The curvature only steers the step: half the precision does.
            ratios = single * inverse.astype(np.float32)
            curvature = (ratios @ ratios.T).astype(np.float64) / len(labels)
            curvature += np.diag(barrier / weights**2)
            step = -np.linalg.solve(curvature, slope)
            decrement = -slope @ step
            if decrement < near:
                break
            weights = _barrier_step(of_label, weights, step, barrier, decrement)
    # What the barrier alone keeps above zero is zero.
    weights[weights < 1e-6 / members] = 0.0
    result: np.ndarray = weights / weights.sum()
    return result


def _barrier_step(
    of_label: np.ndarray, weights: np.ndarray, step: np.ndarray, barrier: float, decrement: float
) -> np.ndarray:
    """Go along a Newton step as far as the weights stay positive and the objective falls enough."""

    def objective(at: np.ndarray) -> float:
        return float(-np.log(at @ of_label).mean() + at.sum() - barrier * np.log(at).sum())

    falling = step < 0
    room = float((-weights[falling] / step[falling]).min()) if falling.any() else np.inf
    length = min(1.0, 0.99 * room)
    before = objective(weights)
    for _ in range(40):
        if objective(weights + length * step) <= before - 1e-4 * length * decrement:
            break
        length /= 2
    return weights + length * step


def greedy_weights(
    probabilities: np.ndarray, labels: np.ndarray, bags: int = 10, steps: int = 40
) -> np.ndarray:
    """Return weights found by selecting members greedily, with replacement, in bags.

    Each step adds the member that brings the mean's log-loss down most; a member can be added
    again. Caruana, Niculescu-Mizil, Crew, Ksikes: Ensemble Selection from Libraries of Models
    (2004), who bag over members; here each bag is half of the rows, drawn without replacement, so
    that two members can be bagged as well as sixty.

    Args:
        probabilities: float [members, rows, classes].
        labels: int64 [rows].
        bags: How many times it is done; the shares are averaged.
        steps: Selections in each bag.

    Returns:
        float64 [members], none negative, together 1.
    """
    of_label = np.maximum(_of_label(probabilities, labels), SMALLEST).astype(np.float32)
    members, rows = of_label.shape
    random = np.random.default_rng(seeds.FIXED)
    counts = np.zeros(members)
    for _ in range(bags):
        bag = of_label[:, np.sort(random.permutation(rows)[: max(1, rows // 2)])]
        total = np.zeros(bag.shape[1], dtype=np.float32)
        room = np.empty_like(bag)
        for _ in range(steps):
            # The mean's own divisor is the same for all candidates and drops out.
            np.add(bag, total, out=room)
            np.log(room, out=room)
            gain = room.mean(axis=1)
            best = np.flatnonzero(gain == gain.max())
            # Members that are the same share what one would get.
            counts[best] += 1 / len(best)
            total += bag[best].mean(axis=0)
    result: np.ndarray = counts / counts.sum()
    return result


def best_exponent(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the exponent of the power mean with the lowest log-loss, from 0 to 4 in nine steps.

    From the arithmetic mean it goes step by step to whichever neighbour is better, until none is.

    Args:
        probabilities: float [members, rows, classes].
        labels: int64 [rows].
    """
    logs = logarithm(probabilities)

    @cache
    def loss(place: int) -> float:
        exponent = _POWERS[place]
        mean = np.zeros(logs.shape[1:], dtype=logs.dtype)
        room = np.empty_like(mean)
        for member in logs:
            if exponent:
                np.multiply(member, exponent, out=room)
                mean += np.exp(room, out=room)
            else:
                mean += member
        joined = softmax64(power_logits(mean / len(logs), exponent))
        return float(-np.log(np.maximum(_picked(joined, labels), SMALLEST)).mean())

    place, wanted = -1, _POWERS.index(1.0)
    while wanted != place:
        place = wanted
        near = range(max(0, place - 1), min(len(_POWERS), place + 2))
        # Staying comes first, so that members that are all the same keep the mean.
        wanted = min([place, *near], key=loss)
    return _POWERS[place]


def log_linear(
    probabilities: np.ndarray, labels: np.ndarray, strength: float = 100.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and biases of the log-linear rule with the lowest penalised log-loss.

    A multinomial logistic regression on the members' log-probabilities with one coefficient per
    member, shared by all classes, and one bias per class: members + classes numbers where a
    coefficient for each pair of classes and member would be members · classes², which is slower and
    learns more noise (`benchmarks/blend_comparison.md` has both). Minimised by Newton's method: sum
    of -ln p(label) + strength/2 · (|weights - 1/members|² + |bias|²). The penalty pulls to the
    geometric mean, not to zero, so a common temperature costs next to nothing, however many members
    share it.

    Args:
        probabilities: float [members, rows, classes].
        labels: int64 [rows].
        strength: Of the penalty, in rows.

    Returns:
        float64 [members] and float64 [classes].
    """
    members, rows, classes = probabilities.shape
    centre = np.concatenate([np.full(members, 1 / members), np.zeros(classes)])
    # A common temperature is most of the way, and much cheaper to find.
    geometric = softmax64(sum(map(logarithm, probabilities)) / members)
    at = centre / best_temperature(geometric, labels)
    value, slope, curvature = _log_linear_at(at, centre, probabilities, labels, strength)
    for _ in range(50):
        step = -np.linalg.solve(curvature, slope)
        decrement = -slope @ step
        if decrement < 1e-9 * rows:
            break
        length = 1.0
        while True:
            found = _log_linear_at(at + length * step, centre, probabilities, labels, strength)
            if found[0] <= value - 1e-4 * length * decrement or length < 1e-6:
                break
            length /= 2
        at = at + length * step
        value, slope, curvature = found
    return at[:members], at[members:]


def _log_linear_at(
    at: np.ndarray,
    centre: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    strength: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return objective, gradient and Hessian, summed over the rows."""
    members, rows, classes = probabilities.shape
    away = at - centre
    value = strength / 2 * float(away @ away)
    slope = strength * away
    curvature = strength * np.eye(members + classes)
    each = np.eye(classes)
    for start in range(0, rows, _CHUNK):
        part = slice(start, start + _CHUNK)
        logs = logarithm(probabilities[:, part])  # [members, chunk, classes]
        size = logs.shape[1]
        features = np.concatenate(
            [logs, np.broadcast_to(each.astype(logs.dtype)[:, None], (classes, size, classes))]
        )  # [members + classes, chunk, classes]
        flat = features.reshape(members + classes, -1)
        outputs = softmax64((at.astype(flat.dtype) @ flat).reshape(size, classes).astype(float))
        value -= float(np.log(np.maximum(_picked(outputs, labels[part]), SMALLEST)).sum())
        residuals = outputs.copy()
        residuals[np.arange(size), labels[part]] -= 1
        slope += flat @ residuals.astype(flat.dtype).ravel()
        # The covariance of the features under the outputs, row by row.
        weighted = features * np.sqrt(outputs).astype(flat.dtype)
        means = (weighted * np.sqrt(outputs).astype(flat.dtype)).sum(axis=2)
        spread = weighted.reshape(members + classes, -1)
        curvature += spread @ spread.T - means @ means.T
    return value, slope, curvature


def _of_label(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each member's probability of each row's label: float64 [members, rows]."""
    found = probabilities[:, np.arange(len(labels)), labels]
    return np.ascontiguousarray(found, dtype=np.float64)


def _picked(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    picked: np.ndarray = values[np.arange(len(labels)), labels]
    return picked
