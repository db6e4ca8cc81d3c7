"""Honest evaluation: what a method's figures would be on rows that chose nothing of it.

A rule is fitted on the rows of all folds but one and judged on the fold left out, for each fold in
turn. The rule for the test rows is fitted on all rows; its figure on these same rows flatters, and
is reported as what it is.

The folds here only say which rows are judged together; members may have been trained on others. Two
things make a row's figure honest: no network that predicts it saw it (each set has its own folds
for that, so a pool of unequal folds has it too), and the rule that joins these predictions was
fitted on other rows. Neither asks that both partitions are the same. What is left is the same with
equal folds: networks that predict the rows a rule is fitted on did train on the judged row, as in
all stacking, and all that can come of it is a few numbers fitted to many rows.
`tests/ensembles/test_unequal_folds.py` plants members that know their training rows by heart, and
shows that the figure stays that of unseen rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from ensembles.by_metric import Judge
from ensembles.methods import Method, calibrate
from ensembles.rules import CalibratedRule, Rule
from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.hardware import available_threads
from kaggle_digits.core.predictions import Score, error_of_mean, row_losses, score

_THREADS = 4  # each holds a copy of the rows it fits on
_Z = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A rule and how good it is.

    Args:
        rule: Fitted on all rows: the one to use on the test rows.
        oof: Each row joined by a rule that was fitted without the row's fold, float64
            [rows, classes].
        honest: Of `oof`.
        fitted: Of `rule` on the rows it was fitted on: flatters where anything was fitted.
    """

    rule: Rule
    oof: np.ndarray
    honest: Score
    fitted: Score


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A method, judged.

    Args:
        method: Which one.
        plain: Without a temperature.
        calibrated: With a temperature fitted on the same rows as the rule.
        temperature: That of the calibrated rule.
        seconds: What it took.
    """

    method: Method
    plain: Judged
    calibrated: Judged
    temperature: float
    seconds: float

    def judged(self, *, temperature: bool) -> Judged:
        """Return the form with or without a temperature."""
        return self.calibrated if temperature else self.plain

    def in_groups(self, labels: np.ndarray, groups: np.ndarray | None) -> Evaluation:
        """Return it with honest standard errors that are those of groups; of rows for None."""
        if groups is None:
            return self
        plain, calibrated = (
            replace(one, honest=score(one.oof, labels, groups))
            for one in (self.plain, self.calibrated)
        )
        return replace(self, plain=plain, calibrated=calibrated)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How two predictions of the same rows differ, first minus second, with 95 % intervals.

    Args:
        images: Rows that only the first gets right less rows that only the second does.
        images_low: The interval's lower end.
        images_high: Its upper end.
        log_loss: Mean difference of the rows' -ln p(label); negative where the first is better.
        log_loss_low: The interval's lower end.
        log_loss_high: Its upper end.
    """

    images: int
    images_low: float
    images_high: float
    log_loss: float
    log_loss_low: float
    log_loss_high: float


@dataclass(frozen=True, slots=True, eq=False)
class RowResults:
    """What became of each row.

    Args:
        right: bool [rows], whether the most probable class is the label.
        losses: float64 [rows], -ln p(label).
    """

    right: np.ndarray
    losses: np.ndarray


def evaluate(
    method: Method, probabilities: np.ndarray, labels: np.ndarray, fold_of_row: np.ndarray
) -> Evaluation:
    """Judge a method honestly.

    Args:
        method: Which one.
        probabilities: Out-of-fold softmax, float [members, rows, classes].
        labels: int64 [rows].
        fold_of_row: int64 [rows], which rows are judged together, 0 to count - 1, two or more.
    """
    started = time.perf_counter()
    folds = [
        (np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold))
        for fold in np.unique(fold_of_row)
    ]
    with one_blas_thread(), ThreadPoolExecutor(min(available_threads(), _THREADS)) as threads:
        whole = threads.submit(_fit, method, probabilities, labels)
        if method.is_fitted:
            jobs = [
                threads.submit(_fit_and_join, method, probabilities, labels, *fold)
                for fold in folds
            ]
        else:
            joined = whole.result().joined
            jobs = [threads.submit(_temper, joined, labels, *fold) for fold in folds]
        fitted = whole.result()
        oof, tempered = np.empty_like(fitted.joined), np.empty_like(fitted.joined)
        for (_, held_out), job in zip(folds, jobs, strict=True):
            oof[held_out], tempered[held_out] = job.result()
    return Evaluation(
        method,
        Judged(fitted.rule, oof, score(oof, labels), score(fitted.joined, labels)),
        Judged(
            fitted.calibrated, tempered, score(tempered, labels), score(fitted.tempered, labels)
        ),
        fitted.calibrated.temperature,
        time.perf_counter() - started,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """A rule with and without a temperature, and what it gives for the rows it was fitted on."""

    rule: Rule
    calibrated: CalibratedRule
    joined: np.ndarray

    @property
    def tempered(self) -> np.ndarray:
        return temper(self.joined, self.calibrated.temperature)


def _fit(method: Method, probabilities: np.ndarray, labels: np.ndarray) -> _Fitted:
    rule = method.fit(probabilities, labels)
    joined = rule.apply(probabilities)
    return _Fitted(rule, calibrate(rule, joined, labels), joined)


def _fit_and_join(
    method: Method,
    probabilities: np.ndarray,
    labels: np.ndarray,
    known: np.ndarray,
    held_out: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    fitted = _fit(method, probabilities[:, known], labels[known])
    joined = fitted.rule.apply(probabilities[:, held_out])
    return joined, temper(joined, fitted.calibrated.temperature)


def _temper(
    joined: np.ndarray, labels: np.ndarray, known: np.ndarray, held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    temperature = best_temperature(joined[known], labels[known])
    return joined[held_out], temper(joined[held_out], temperature)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep matrix products to one thread each while the block runs.

    Folds are spread over the processors here. A product's own threads would wait for one another
    (measured with both cores of two busy: 20 times slower), and their number would change sums in
    the last digits.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def choose_by(judge: Judge, evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the simplest method that is not worse by a metric than the best beyond noise.

    As in `choose`, all are judged with a temperature.

    Args:
        judge: The metric, and the rows of the evaluations.
        evaluations: From the simplest to the least simple.
    """
    found = [judge(entry.calibrated.oof) for entry in evaluations]
    best = max(found, key=lambda scored: scored.figure.value)
    return next(
        entry
        for entry, scored in zip(evaluations, found, strict=True)
        if scored.is_as_good_as(best)
    )


def choose(
    evaluations: Sequence[Evaluation], labels: np.ndarray, groups: np.ndarray | None = None
) -> Evaluation:
    """Return the simplest method that is not worse than the best beyond noise.

    The best has the lowest honest log-loss; accuracy decides between equals. Another is worse
    beyond noise if the 95 % interval of the paired difference lies on the wrong side of zero, in
    log-loss or in right rows. All are judged with a temperature, so that none is taken for what a
    temperature alone would do.

    Args:
        evaluations: From the simplest to the least simple.
        labels: int64 [rows].
        groups: int64 [rows], what rows have in common that err together; None for nothing.
    """
    best = min(
        evaluations,
        key=lambda entry: (entry.calibrated.honest.log_loss, -entry.calibrated.honest.accuracy),
    )
    wanted = row_results(best.calibrated.oof, labels)

    def is_as_good(entry: Evaluation) -> bool:
        found = compare(row_results(entry.calibrated.oof, labels), wanted, groups)
        return found.log_loss_low <= 0 <= found.images_high

    return next(entry for entry in evaluations if is_as_good(entry))


def row_results(joined: np.ndarray, labels: np.ndarray) -> RowResults:
    """Judge each row.

    Args:
        joined: float [rows, classes].
        labels: int64 [rows].
    """
    return RowResults(joined.argmax(axis=1) == labels, row_losses(joined, labels))


def compare(
    first: RowResults, second: RowResults, groups: np.ndarray | None = None
) -> PairedDifference:
    """Compare two predictions of the same rows, pair by pair.

    With b rows that only the first gets right, c that only the second does, and n in all, the
    interval of b - c is that of Bonett and Price (Adjusted Wald Confidence Interval for a
    Difference of Binomial Proportions Based on Paired Data, 2012): with p = (b + 1)/(n + 2) and
    q = (c + 1)/(n + 2), n · (p - q ± 1.96 · sqrt((p + q - (p - q)²)/(n + 2))). That of the log-loss
    is the mean difference ± 1.96 · its standard error. Where rows come in groups, both are the
    difference ± 1.96 · the standard error of groups.

    Args:
        first: Of one of them.
        second: Of the other.
        groups: int64 [rows], what rows have in common that err together; None for nothing.
    """
    rows = len(first.right)
    only_first = int(np.sum(first.right & ~second.right))
    only_second = int(np.sum(second.right & ~first.right))
    losses = first.losses - second.losses
    mean = float(losses.mean())
    if groups is None:
        p, q = (only_first + 1) / (rows + 2), (only_second + 1) / (rows + 2)
        apart, half = p - q, _Z * float(np.sqrt((p + q - (p - q) ** 2) / (rows + 2)))
    else:
        gained = first.right.astype(np.float64) - second.right
        apart, half = float(gained.mean()), _Z * error_of_mean(gained, groups)
    error = _Z * error_of_mean(losses, groups)
    return PairedDifference(
        images=only_first - only_second,
        images_low=rows * (apart - half),
        images_high=rows * (apart + half),
        log_loss=mean,
        log_loss_low=mean - error,
        log_loss_high=mean + error,
    )
