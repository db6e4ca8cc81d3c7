"""How much a score on part of the rows can differ by chance alone; standard library only."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

_Z95 = 1.959964
_EXACT_UP_TO = 8
_SHUFFLES = 5000


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a score will lie with 95 % probability.

    Args:
        low_errors: Fewest errors.
        high_errors: Most errors.
        rows: Rows they are counted on.
    """

    low_errors: int
    high_errors: int
    rows: int

    @property
    def low(self) -> float:
        """The lowest score, 0 to 1."""
        return 1 - self.high_errors / self.rows

    @property
    def high(self) -> float:
        """The highest score, 0 to 1."""
        return 1 - self.low_errors / self.rows


@dataclass(frozen=True, slots=True)
class Gap:
    """A public score against the CV score.

    Args:
        value: Public minus CV.
        sd: Standard deviation that chance gives it.
    """

    value: float
    sd: float

    @property
    def within(self) -> bool:
        """Whether chance explains it: at most 1.96 standard deviations."""
        return abs(self.value) <= _Z95 * self.sd


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation and how sure it is.

    Args:
        rho: -1 to 1.
        low: Lower end of the 95 % interval; None with fewer than 4 pairs or at exactly 1 or -1.
        high: Upper end.
        p: Probability of a correlation at least as strong, of either sign, if there were none.
        pairs: How many there are.
    """

    rho: float
    low: float | None
    high: float | None
    p: float
    pairs: int


def public_rows(rows: int, share: float) -> int:
    """Return how many of the test rows are public, at least one.

    Args:
        rows: Test rows.
        share: Part that is public, above 0 to 1.
    """
    return max(1, round(rows * share))


def predict(accuracy: float, se: float | None, rows: int, future: int) -> Interval:
    """Predict the score on other rows from the CV score: Jeffreys' beta-binomial prediction.

    The CV's errors give the error rate's posterior Beta(e + 1/2, n - e + 1/2); the other rows'
    errors are binomial given the rate (Brown, Cai and DasGupta 2001 for the prior; Gelman et al.,
    Bayesian Data Analysis, chapter 2, for the predictive). Where the standard error given is
    larger than the binomial one, n is shrunk to the number of rows that would give it.

    Args:
        accuracy: CV accuracy, 0 to 1.
        se: Its standard error; None for the binomial one.
        rows: Rows behind it, n.
        future: Rows of the score to predict.
    """
    variance = accuracy * (1 - accuracy)
    effective = float(rows)
    if se and variance > 0:
        effective = min(effective, variance / se**2)
    wrong = (1 - accuracy) * effective
    alpha, beta = wrong + 0.5, effective - wrong + 0.5
    total, low = 0.0, None
    for errors in range(future + 1):
        total += math.exp(
            math.lgamma(future + 1)
            - math.lgamma(errors + 1)
            - math.lgamma(future - errors + 1)
            + _log_beta(errors + alpha, future - errors + beta)
            - _log_beta(alpha, beta)
        )
        if low is None and total > 0.025:
            low = errors
        if total >= 0.975:
            return Interval(low or 0, errors, future)
    return Interval(low or 0, future, future)


def gap(accuracy: float, se: float | None, public: float, future: int) -> Gap:
    """Compare a public score with the CV score.

    Its variance is the binomial one of the public part, p (1 - p) / m with p from CV, plus the CV
    score's own.

    Args:
        accuracy: CV accuracy, 0 to 1.
        se: Its standard error; None for 0.
        public: Public score, 0 to 1.
        future: Public rows, m.
    """
    # Half an error keeps a CV score of 1 from claiming that chance has no part.
    p = min(accuracy, 1 - 0.5 / (future + 1))
    return Gap(public - accuracy, math.sqrt(p * (1 - p) / future + (se or 0.0) ** 2))


def correlate(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """Return Spearman's rank correlation of n pairs; None if undefined (n < 3, or all equal).

    The interval is Bonett and Wright's (Psychometrika 65, 2000): Fisher's z with the standard
    error sqrt((1 + rho² / 2) / (n - 3)). The probability is by permutation: all orders up to 8
    pairs, 5,000 shuffles beyond.

    Args:
        first: n values.
        second: n values.
    """
    if len(first) != len(second) or len(first) < 3:
        return None
    x, y = _ranks(first), _ranks(second)
    rho = _pearson(x, y)
    if rho is None:
        return None
    low = high = None
    if len(x) > 3 and abs(rho) < 1 - 1e-12:
        z, half = math.atanh(rho), _Z95 * math.sqrt((1 + rho**2 / 2) / (len(x) - 3))
        low, high = math.tanh(z - half), math.tanh(z + half)
    return Correlation(rho, low, high, _permutation_p(x, y, abs(rho)), len(x))


def _permutation_p(x: Sequence[float], y: Sequence[float], strength: float) -> float:
    if len(x) <= _EXACT_UP_TO:
        orders = list(itertools.permutations(y))
        stronger = sum(_at_least(x, order, strength) for order in orders)
        return stronger / len(orders)
    generator = random.Random(0)
    shuffled = list(y)
    stronger = 1
    for _ in range(_SHUFFLES):
        generator.shuffle(shuffled)
        stronger += _at_least(x, shuffled, strength)
    return stronger / (_SHUFFLES + 1)


def _at_least(x: Sequence[float], y: Sequence[float], strength: float) -> bool:
    rho = _pearson(x, y)
    return rho is not None and abs(rho) >= strength - 1e-12


def _pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))
    if spread == 0:
        return None
    together = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return max(-1.0, min(1.0, together / spread))


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2 + 1
        start = end + 1
    return ranks


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
