"""Which configurations a search hands on: distinct, ranked, and, if asked for, diverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.metrics import dealt, honest_answers, measure
from kaggle_digits.core.predictions import row_losses
from kaggle_digits.ground.figures import higher_is_better
from kaggle_digits.records.ranking import Ranked
from tuning.study import Trial


def ranked(trials: Sequence[Trial], count: int, raced: Sequence[Ranked] = ()) -> list[Ranked]:
    """Return the best distinct configurations.

    Those that raced come first, as the race placed them: their scores come from other rows and
    more networks than those of trials. Then the completed trials by the metric that the study ranks
    by, else log-loss; ties by accuracy, then by age. A configuration that hyperband tried in
    several rounds stands with its longest trial.

    Args:
        trials: The study's trials.
        count: How many at most.
        raced: The race's entries from best to worst.
    """
    longest: dict[str, tuple[tuple[int, float], Ranked]] = {}
    for trial in trials:
        if trial.log_loss is None or trial.accuracy is None:
            continue
        place = (-trial.epochs, trial.loss or 0.0)
        known = longest.get(trial.config.digest)
        if known is None or place < known[0]:
            longest[trial.config.digest] = (place, _entry(trial, trial.log_loss, trial.accuracy))
    placed = {entry.config.digest for entry in raced}
    others = [entry for digest, (_, entry) in longest.items() if digest not in placed]
    others.sort(key=lambda entry: (entry.loss, -entry.accuracy, entry.trial))
    return [*raced, *others][:count]


def _entry(trial: Trial, log_loss: float, accuracy: float) -> Ranked:
    return Ranked(
        config=trial.config,
        trial=trial.number,
        log_loss=log_loss,
        accuracy=accuracy,
        log_loss_se=trial.log_loss_se or 0.0,
        accuracy_se=trial.accuracy_se or 0.0,
        rows=trial.rows,
        metric=trial.metric,
    )


def diverse(
    entries: Sequence[Ranked],
    predictions: Mapping[int, np.ndarray],
    labels: np.ndarray,
    count: int,
    metric: str | None = None,
) -> list[Ranked]:
    """Order configurations so that the average of the first `count` is the best.

    Greedy forward selection without replacement (Caruana et al. 2004, "Ensemble Selection from
    Libraries of Models"): the first is the best one; each next one is that whose softmax, averaged
    with those chosen, is the best on the common held-out rows, by log-loss or by a metric. Among
    the first `count`, exchanges follow as long as one helps: the best two need not hold the best
    one (Pudil et al. 1994, "Floating search methods in feature selection"); the winner of a race
    stays. Entries whose predictions were not kept follow in their own order. Every average is
    calibrated before its log-loss is taken: the more its parts differ the less sure it is, which
    one temperature sets right in the blend too.

    Args:
        entries: Ranked configurations.
        predictions: By the number of their trial: softmax [rows, classes] on the same rows.
        labels: int [rows], class indices of those rows.
        count: How many will be averaged; the others follow by what each adds to all before it.
        metric: One of `names.RANKING`; None for log-loss.
    """

    def loss(mean: np.ndarray) -> float:
        if metric is None:
            return float(row_losses(temper(mean, best_temperature(mean, labels)), labels).mean())
        answers = honest_answers(metric, mean, labels, dealt(len(labels)))
        value = measure(metric, mean, labels, answers)
        return -value if higher_is_better(metric) else value

    known: dict[frozenset[int], float] = {}

    def together(trials: Sequence[int]) -> float:
        which = frozenset(trials)
        if which not in known:
            known[which] = loss(np.mean([predictions[trial] for trial in sorted(which)], axis=0))
        return known[which]

    def forward(order: list[int], trials: Sequence[int], length: int) -> list[int]:
        left = [trial for trial in trials if trial not in order]
        while left and len(order) < length:
            best = min(left, key=lambda trial: together([*order, trial])) if order else left[0]
            order = [*order, best]
            left.remove(best)
        return order

    here = [entry.trial for entry in entries if entry.trial in predictions]
    chosen = forward([], here, count)
    # Who won a race of several rounds did so on other rows, with more networks: it stays.
    stays = {entry.trial for entry in entries[:1] if entry.folds > 1}
    while 1 < len(chosen) < len(here):
        exchanged = [
            [trial if one == leaves else one for one in chosen]
            for leaves in chosen
            if leaves not in stays
            for trial in here
            if trial not in chosen
        ]
        best = min(exchanged, key=together)
        if together(best) >= together(chosen):
            break
        chosen = best
    order = forward([], [trial for trial in here if trial in chosen], count)
    order = forward(order, here, len(here))
    by_trial = {entry.trial: entry for entry in entries}
    first = [by_trial[trial] for trial in order]
    return first + [entry for entry in entries if entry.trial not in predictions]
