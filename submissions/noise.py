"""How much a score on part of the rows can differ by chance alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959964
"""Standard errors to either side that hold 95 % of a normal distribution."""

_ORDERS = math.factorial(8)  # all of them up to 8 pairs
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
class Band:
    """Where a score that is no count of errors will lie with 95 % probability.

    Args:
        low: The lowest score.
        high: The highest score.
        rows: Rows that it is taken on.
    """

    low: float
    high: float
    rows: int


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
        return abs(self.value) <= Z95 * self.sd


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
    from scipy import stats

    variance = accuracy * (1 - accuracy)
    effective = float(rows)
    if se and variance > 0:
        effective = min(effective, variance / se**2)
    wrong = (1 - accuracy) * effective
    ahead = stats.betabinom(future, wrong + 0.5, effective - wrong + 0.5)
    low, high = ahead.ppf(0.025), ahead.ppf(0.975)
    return Interval(int(low), int(high), future)


def predict_by_error(metric: str, value: float, se: float, rows: int, future: int) -> Band:
    """Predict a metric on other rows from its CV value and standard error.

    The value on m rows has the variance se² n / m, since standard errors go with 1 / sqrt(rows);
    the CV value's own is added, and the sum taken for normal.

    Args:
        metric: One of `names.METRICS`; bounds what is possible.
        value: CV value.
        se: Its standard error, by formula or by bootstrap.
        rows: Rows behind it, n.
        future: Rows of the score to predict, m.
    """
    half = Z95 * se * math.sqrt(1 + rows / future)
    least, most = limits(metric)
    return Band(max(value - half, least), min(value + half, most), future)


def gap_by_error(value: float, se: float, rows: int, public: float, future: int) -> Gap:
    """Compare a public score with the CV value of the same metric; arguments as above.

    Args:
        value: CV value.
        se: Its standard error.
        rows: Rows behind it, n.
        public: Public score.
        future: Public rows, m.
    """
    return Gap(public - value, se * math.sqrt(1 + rows / future))


def limits(metric: str | None) -> tuple[float, float]:
    """Return the least and the largest value that a metric can have."""
    return {"log-loss": (0.0, math.inf), "qwk": (-1.0, 1.0)}.get(metric or "", (0.0, 1.0))


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
    if len(set(first)) == 1 or len(set(second)) == 1:
        return None
    import numpy as np
    from scipy import stats

    rho = float(stats.spearmanr(first, second).statistic)
    low = high = None
    if len(first) > 3 and abs(rho) < 1 - 1e-12:
        z, half = math.atanh(rho), Z95 * math.sqrt((1 + rho**2 / 2) / (len(first) - 3))
        low, high = math.tanh(z - half), math.tanh(z + half)
    # Spearman's is the product of the ranks but for factors that no order changes.
    ranks = stats.rankdata(second) - (len(second) + 1) / 2
    tested = stats.permutation_test(
        (stats.rankdata(first) - (len(first) + 1) / 2,),
        lambda orders, axis: np.sum(orders * ranks, axis=axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=_ORDERS if math.factorial(len(first)) <= _ORDERS else _SHUFFLES,
        rng=np.random.default_rng(0),
    )
    return Correlation(rho, low, high, float(tested.pvalue), len(first))
