"""The race: the best trials are scored again, fold by fold, and those that fall behind leave.

All racers are trained on the same folds with the same seed. After each round the per-row losses of
each racer are compared with the leader's on all rows so far: d_i = loss_i(racer) - loss_i(leader).
A racer leaves when mean(d) / (sd(d) / sqrt(n)) exceeds the normal quantile of 1 - 0.01 / (racers
left - 1): a one-sided paired t-test at the level of 1 %, divided by the number of comparisons. From
the second round on, because the rows of one round share one network a racer. Where rows come in
groups, the standard error is that of groups, and the quantile Student's, of one less than they are.

Where a metric ranks that is no mean over rows, a racer is behind by what its metric falls short of
the leader's, on all rows so far, and the standard error is that of this difference over bootstrap
samples of the rows; the rest is the same.

Sources: Maron & Moore 1994, "Hoeffding Races" (racing; its bound needs bounded losses, log-loss has
none); Birattari et al. 2002, "A Racing Algorithm for Configuring Metaheuristics" (paired
comparisons on common instances); López-Ibáñez et al. 2016, "The irace package" (the t-test).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kaggle_digits.core.metrics import dealt, honest_answers, judged, measure, samples
from kaggle_digits.core.predictions import error_of_mean, row_losses
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.figures import higher_is_better
from kaggle_digits.ground.files import write_json
from kaggle_digits.ground.progress import Progress
from kaggle_digits.records.ranking import Ranked
from tuning.scoring import Result, Splits, Unit
from tuning.study import read_array, write_array

_LEVEL = 0.01
FIRST_TEST = 2


def row_scores(probabilities: np.ndarray, labels: np.ndarray, *, whole: bool = False) -> np.ndarray:
    """Return each row's log-loss in nats and whether it is right, float32 [2, rows].

    Args:
        probabilities: Softmax [rows, classes].
        labels: int [rows], class indices.
        whole: Return the probabilities after these two, float32 [2 + classes, rows].
    """
    right = probabilities.argmax(axis=1) == labels
    more = probabilities.T if whole else ()
    return np.stack([row_losses(probabilities, labels), right, *more]).astype(np.float32)


def fallen_behind(
    losses: Mapping[str, np.ndarray], groups: np.ndarray | None = None
) -> dict[str, float]:
    """Return the racers that are worse than the leader beyond chance.

    Args:
        losses: By racer: float [rows], losses on the same rows in the same order.
        groups: int64 [rows], rows with equal numbers belong together; None for rows on their own.

    Returns:
        By racer that falls behind: how many standard errors it is behind.
    """

    def behind(name: str, leader: str) -> tuple[float, float]:
        difference = losses[name].astype(np.float64) - losses[leader]
        return float(difference.mean()), error_of_mean(difference, groups)

    return _fallen({name: float(own.mean()) for name, own in losses.items()}, behind, groups)


def fallen_behind_by(
    metric: str,
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray | None = None,
) -> dict[str, float]:
    """Return the racers whose metric is worse than the leader's beyond chance.

    Args:
        metric: One of `names.RANKING`.
        probabilities: By racer: float [rows, classes], of the same rows in the same order.
        labels: int64 [rows], class indices of these rows.
        groups: As of `fallen_behind`.

    Returns:
        As `fallen_behind`.
    """
    folds = dealt(len(labels))
    named = {
        name: honest_answers(metric, own, labels, folds) for name, own in probabilities.items()
    }

    def loss(name: str, some: np.ndarray) -> float:
        answers = named[name]
        chosen = None if answers is None else answers[some]
        value = measure(metric, probabilities[name][some], labels[some], chosen)
        return -value if higher_is_better(metric) else value

    everything, drawn = np.arange(len(labels)), samples(len(labels), groups)

    def behind(name: str, leader: str) -> tuple[float, float]:
        apart = [loss(name, some) - loss(leader, some) for some in drawn]
        return loss(name, everything) - loss(leader, everything), float(np.std(apart, ddof=1))

    return _fallen({name: loss(name, everything) for name in probabilities}, behind, groups)


def _fallen(
    losses: Mapping[str, float],
    behind: Callable[[str, str], tuple[float, float]],
    groups: np.ndarray | None,
) -> dict[str, float]:
    """Return who is behind the leader beyond chance; `behind` tells by how much, with its error."""
    if len(losses) < 2:
        return {}
    leader = min(losses, key=lambda name: losses[name])
    level = 1 - _LEVEL / (len(losses) - 1)
    if groups is None:
        limit = statistics.NormalDist().inv_cdf(level)
    else:
        from scipy.stats import t

        limit = float(t.ppf(level, len(np.unique(groups)) - 1))
    found = {}
    for name in losses:
        if name == leader:
            continue
        difference, error = behind(name, leader)
        if error > 0 and difference / error > limit:
            found[name] = difference / error
    return found


def has_raced(config: TrainingConfig, folder: Path) -> bool:
    """Say whether a race's folder holds a configuration's first result."""
    return _path(folder, config.digest, 0, "npy").exists()


class Race:
    """One race, as far as its files say; it hands out work and takes results in any order.

    Args:
        entries: The racers from best to worst, as their trials placed them.
        folder: Where results are kept: a racer's result of a round stays valid for later races of
            the study, since rows, seeds and epochs are the study's.
        splits: The rounds' rows.
        labels: int64, class indices of the data.
        epochs: Passes over a round's training rows.
        repeats: How many times all folds are walked through, each time by another partition.
        progress: Told of those that leave.
        metric: What places them, one of `names.RANKING`; None for log-loss.
        groups_of: Gives the groups of rows, whose errors come together; None for rows on their own.
    """

    def __init__(
        self,
        entries: Sequence[Ranked],
        folder: Path,
        splits: Splits,
        labels: np.ndarray,
        epochs: int,
        repeats: int,
        progress: Progress,
        metric: str | None = None,
        groups_of: Callable[[np.ndarray], np.ndarray | None] = lambda rows: None,
    ) -> None:
        self._metric = metric
        self._groups_of = groups_of
        self._entries = {entry.config.digest: entry for entry in entries}
        self._folder = folder
        self._splits = splits
        self._labels = labels
        self._epochs = epochs
        self._rounds = splits.race_folds * repeats
        self._progress = progress
        self._scores: dict[tuple[str, int], np.ndarray | None] = {}
        self._handed_out: set[tuple[str, int]] = set()
        self._left_in: dict[str, int] = {}
        self._running = list(self._entries)
        self._round = 0
        self._load()
        self._settle()

    @property
    def is_over(self) -> bool:
        """Whether no work is left or under way."""
        return self._round >= self._rounds or len(self._running) < 2

    def waits_for(self, entry: Ranked) -> bool:
        """Say whether the round that is under way lacks this racer's result."""
        digest = entry.config.digest
        return digest in self._running and (digest, self._round) not in self._scores

    def take(self) -> Unit | None:
        """Return the next piece of work; None if there is none (now)."""
        if self.is_over:
            return None
        for digest in self._running:
            place = (digest, self._round)
            if place not in self._scores and place not in self._handed_out:
                self._handed_out.add(place)
                entry = self._entries[digest]
                return Unit(entry.trial, entry.config, self._epochs, self._round)
        return None

    def give(self, unit: Unit, result: Result) -> None:
        """Take a result, store it, and drop those that have fallen behind."""
        digest, number = unit.config.digest, unit.round
        assert number is not None
        if result.held_out is None:
            write_json(_path(self._folder, digest, number, "json"), {"reason": result.reason})
            self._scores[digest, number] = None
            self._progress.say(f"race: {unit.name} failed: {result.reason}")
        else:
            _, held_out = self._splits.race(number)
            whole = self._metric is not None
            scores = row_scores(result.held_out, self._labels[held_out], whole=whole)
            write_array(_path(self._folder, digest, number, "npy"), scores)
            self._scores[digest, number] = scores
        self._settle()

    def standing(self) -> list[Ranked]:
        """Return the racers from best to worst; those that left follow by how far they came.

        Empty while the first round is under way: nobody is placed before all have been scored.
        """
        if self._round == 0:
            return []
        placed = []
        for digest, entry in self._entries.items():
            rounds = min(self._left_in.get(digest, self._round), self._round)
            rows = self._rows(digest, rounds)
            if rows is None:
                continue
            losses, right = rows[0].astype(np.float64), rows[1].astype(np.float64)
            metric, judged_rows = self._metric, self._judged(rounds)
            labels, groups = self._labels[judged_rows], self._groups_of(judged_rows)
            if groups is None:
                accuracy_se = float(np.sqrt(right.mean() * (1 - right.mean()) / len(right)))
            else:
                accuracy_se = error_of_mean(right, groups)
            placed.append(
                Ranked(
                    config=entry.config,
                    trial=entry.trial,
                    log_loss=float(losses.mean()),
                    accuracy=float(right.mean()),
                    log_loss_se=error_of_mean(losses, groups),
                    accuracy_se=accuracy_se,
                    rows=len(losses),
                    folds=rounds,
                    metric=None
                    if metric is None
                    else judged(metric, rows[2:].T, labels, dealt(len(labels)), groups),
                )
            )
        return sorted(placed, key=lambda one: (-one.folds, one.loss))

    def _settle(self) -> None:
        """Close rounds that are complete, and let those that have fallen behind leave."""
        while not self.is_over and all(
            (digest, self._round) in self._scores for digest in self._running
        ):
            for digest in list(self._running):
                if self._scores[digest, self._round] is None:
                    self._leave(digest, self._round, "failed")
            self._round += 1
            if self._round >= FIRST_TEST and len(self._running) > 1:
                for digest, errors in self._fallen_behind().items():
                    self._leave(digest, self._round, f"{errors:.1f} standard errors behind")

    def _fallen_behind(self) -> dict[str, float]:
        found = {digest: self._rows(digest, self._round) for digest in self._running}
        rows = {digest: own for digest, own in found.items() if own is not None}
        judged_rows = self._judged(self._round)
        groups = self._groups_of(judged_rows)
        if self._metric is None:
            return fallen_behind({digest: own[0] for digest, own in rows.items()}, groups)
        told = {digest: own[2:].T for digest, own in rows.items()}
        return fallen_behind_by(self._metric, told, self._labels[judged_rows], groups)

    def _judged(self, rounds: int) -> np.ndarray:
        """Return the rows that so many rounds are judged on, ascending, int64."""
        return np.unique(np.concatenate([self._splits.race(one)[1] for one in range(rounds)]))

    def _leave(self, digest: str, rounds: int, why: str) -> None:
        self._running.remove(digest)
        self._left_in[digest] = rounds
        trial = self._entries[digest].trial
        self._progress.say(f"race: trial {trial} leaves after {rounds} rounds: {why}")

    def _rows(self, digest: str, rounds: int) -> np.ndarray | None:
        """Return a racer's scores in its first rounds by row, means over repeats, [k, rows]."""
        parts = [self._scores.get((digest, number)) for number in range(rounds)]
        known = [part for part in parts if part is not None]
        if not known or len(known) < len(parts):
            return None
        size = len(self._labels)
        total, count = np.zeros((len(known[0]), size)), np.zeros(size)
        for number, part in enumerate(known):
            _, held_out = self._splits.race(number)
            total[:, held_out] += part
            count[held_out] += 1
        return np.asarray(total[:, count > 0] / count[count > 0])

    def _load(self) -> None:
        for digest in self._entries:
            for number in range(self._rounds):
                scores = read_array(_path(self._folder, digest, number, "npy"))
                rows = len(self._splits.race(number)[1])
                if scores is not None and self._is_whole(scores, rows):
                    self._scores[digest, number] = scores
                elif _path(self._folder, digest, number, "json").exists():
                    self._scores[digest, number] = None

    def _is_whole(self, scores: np.ndarray, rows: int) -> bool:
        if scores.ndim != 2 or scores.shape[1] != rows:
            return False
        return len(scores) == 2 if self._metric is None else len(scores) > 2


def _path(folder: Path, digest: str, number: int, kind: str) -> Path:
    return folder / f"{digest}-{number:02d}.{kind}"
