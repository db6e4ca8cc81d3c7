"""How a configuration is scored: on which rows, by which training jobs, with which seeds.

A trial trains on a fixed stratified sample and is scored on a fixed holdout, or, with folds, on the
out-of-fold rows of the sample. Rows of one group, or of one fold that the files give, stand on one
side of every split, so that a search is not led by what only looks new. All trials share rows and
seed, so they differ by configuration alone. The race has folds and seeds of its own, common to all
racers. Predictions are calibrated by one temperature each before they are scored.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.folds import draw_folds, holdout, rows_of_rare
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.training import train
from kaggle_digits.engine import Site
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import DataError, TrainingError
from kaggle_digits.ground.files import remove

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

_FEW = 0.5
"""Share of the data up to which trials have copies of their own rows only: above it, members can
go on with copies of all rows for little more."""


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """What decides a configuration's score, the data and its epochs aside.

    Args:
        rows: Rows a trial trains on at most; half as many again are held out.
        copies: Augmented copies a network walks through.
        folds: Folds a trial is scored on; 0 for one holdout.
        race_folds: Folds of the race at most.
        seed: Fixes rows and training.
    """

    rows: int
    copies: int
    folds: int
    race_folds: int
    seed: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work that can be done anywhere: one configuration to be scored.

    Args:
        trial: Number of the trial whose configuration it is.
        config: The configuration.
        epochs: Passes over the training rows.
        round: The race's round; None for the trial itself.
    """

    trial: int
    config: TrainingConfig
    epochs: int
    round: int | None = None

    @property
    def name(self) -> str:
        """How progress and messages name it."""
        if self.round is None:
            return f"trial {self.trial}"
        return f"race, trial {self.trial}, round {self.round}"


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came of a unit.

    Args:
        held_out: Softmax on the unit's held-out rows, float32 [rows, classes]; None if it failed.
        reason: Why it failed; empty otherwise.
        seconds: Wall time.
        history: Mean training loss of each epoch, in nats; of the first network where there are
            several.
        checkpoints: Files on the unit's machine that it would go on from.
        threads: Threads it was computed with.
    """

    held_out: np.ndarray | None
    reason: str = ""
    seconds: float = 0.0
    history: tuple[float, ...] = ()
    checkpoints: tuple[Path, ...] = ()
    threads: int = 0

    def drop_checkpoints(self) -> None:
        """Remove what the unit would go on from; to be called once its result is stored."""
        for checkpoint in self.checkpoints:
            remove(checkpoint)


class Splits:
    """The rows every trial and every round of the race is trained and scored on.

    Args:
        labels: int64 [rows], class indices of the data.
        settings: What decides the rows.
        kept: The rows that can be used, int64; None for all.
        together: int64 [rows], rows with equal numbers stand on one side of every split, those
            with -1 on the training side; None where rows are free.

    Raises:
        DataError: A class has too few rows for the folds, or there are too few groups.
    """

    def __init__(
        self,
        labels: np.ndarray,
        settings: ScoringSettings,
        kept: np.ndarray | None = None,
        together: np.ndarray | None = None,
    ) -> None:
        self._labels = labels
        self._settings = settings
        self._together = together
        held_out = settings.rows // 2
        # Rows of classes too rare to be spread are in every training part, and judged by none.
        kept = np.arange(len(labels)) if kept is None else kept
        is_free = np.ones(len(kept), bool) if together is None else together[kept] >= 0
        is_rare = ~is_free
        is_rare[is_free] = rows_of_rare(labels[kept[is_free]], max(2, settings.folds))
        self._rare_rows, common = kept[is_rare], kept[~is_rare]
        train_rows, held_out_rows = (
            common[part]
            for part in holdout(
                labels[common],
                settings.rows,
                held_out,
                settings.seed,
                None if together is None else together[common],
            )
        )
        if settings.folds:
            sample = np.sort(np.concatenate([train_rows, held_out_rows]))
            fewest = min(Counter(labels[sample].tolist()).values())
            sides = self._sides(sample)
            if sides < settings.folds:
                raise DataError(
                    f"Trials use rows of {sides} groups or folds of the data; {settings.folds} "
                    f"folds need {settings.folds} or more.",
                    mend=f"Give --folds {sides}, or leave it out.",
                )
            if fewest < settings.folds:
                raise DataError(
                    f"A class has {fewest} rows among the {len(sample)} that trials use; "
                    f"{settings.folds} folds need {settings.folds} or more.",
                    mend=f"Give --folds {fewest}." if fewest >= 2 else "Leave --folds out.",
                )
            splits = self._folds(sample, settings.folds, settings.seed)
        else:
            splits = [(train_rows, held_out_rows)]
        self.trial = [self._with_rare(split) for split in splits]
        # The race's rows are none of those the racers were chosen by, where the data has enough.
        judged = np.concatenate([held_out for _, held_out in splits])
        others = np.setdiff1d(common, judged)
        wanted = settings.rows + held_out
        classes = len(np.unique(labels[common]))
        few = np.sum(np.bincount(labels[others]) >= 2) < classes
        if len(others) < wanted or few or self._sides(others) < settings.race_folds:
            others = common
        if len(others) > wanted + held_out:
            chosen, _ = holdout(labels[others], wanted, held_out, settings.seed)
            others = others[chosen]
        self._race_rows = others
        self._partitions: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self.race_folds = min(
            settings.race_folds,
            min(Counter(labels[others].tolist()).values()),
            self._sides(others),
        )

    def _sides(self, rows: np.ndarray) -> int:
        """Return into how many parts rows can be split at most."""
        return len(rows if self._together is None else np.unique(self._together[rows]))

    def trained_on(self, unit: Unit) -> np.ndarray:
        """Return the rows that a unit's networks train on, and others like it; int64, sorted."""
        if unit.round is None:
            return np.unique(np.concatenate([train_rows for train_rows, _ in self.trial]))
        return np.union1d(self._race_rows, self._rare_rows)

    @property
    def trial_rows(self) -> np.ndarray:
        """The rows a trial's predictions are of, int64, in their order."""
        return np.concatenate([held_out for _, held_out in self.trial])

    def _folds(
        self, rows: np.ndarray, count: int, seed: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        groups = None if self._together is None else self._together[rows]
        of_row = draw_folds(self._labels[rows], count, seed, groups)
        return [(rows[of_row != fold], rows[of_row == fold]) for fold in range(count)]

    def race(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the training and the held-out rows of one of the race's rounds, int64."""
        repeat, fold = divmod(number, self.race_folds)
        if repeat not in self._partitions:
            self._partitions[repeat] = self._folds(
                self._race_rows, self.race_folds, self.race_seed(number)
            )
        return self._with_rare(self._partitions[repeat][fold])

    def _with_rare(self, split: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        train_rows, held_out_rows = split
        if len(self._rare_rows):
            train_rows = np.sort(np.concatenate([train_rows, self._rare_rows]))
        return train_rows, held_out_rows

    def race_seed(self, number: int) -> int:
        """Return the seed that all networks of a round are trained with."""
        return self._settings.seed + 1 + number // self.race_folds


@lru_cache(maxsize=1)
def splits_of(dataset: Dataset, settings: ScoringSettings) -> Splits:
    """Return the rows for a data set: worked out once for all units of a search.

    Raises:
        DataError: As `Splits`.
    """
    return Splits(dataset.labels, settings, dataset.kept, dataset.together)


def bank_of(unit: Unit, site: Site, settings: ScoringSettings) -> Bank:
    """Return the bank whose copies a unit's networks walk through.

    Where trials train on a part of the data, copies of that part: most policies that are tried
    become no member's, and of all rows they would take longer to make than the trial to train.
    """
    rows = splits_of(site.dataset, settings).trained_on(unit)
    few = len(rows) <= _FEW * len(site.dataset.images)
    return Bank.of(
        unit.config, site.dataset, settings.seed, site.workspace, rows=rows if few else None
    )


def copies_of(unit: Unit, bank: Bank, site: Site, settings: ScoringSettings) -> list[int]:
    """Return the numbers of the copies that a unit's networks walk through."""
    seed = _seed(unit, splits_of(site.dataset, settings), settings)
    return sorted(set(bank.order(seed, settings.copies, unit.epochs)))


def score_unit(site: Site, settings: ScoringSettings, unit: Unit) -> Result:
    """Train a unit's networks and predict its held-out rows; a task's function.

    Called again on the same machine after a kill, it goes on from its networks' checkpoints.

    Raises:
        OutOfTimeError: The deadline passed.
    """
    started = time.monotonic()
    bank = bank_of(unit, site, settings)
    bank.ensure(copies_of(unit, bank, site, settings), site.progress, site.deadline)
    splits = splits_of(site.dataset, settings)
    held_out: list[np.ndarray] = []
    history: tuple[float, ...] = ()
    checkpoints = []
    folder = site.workspace.cache / "checkpoints"
    reason = ""
    try:
        for job in _jobs(unit, splits, settings):
            trained = train(job, site.dataset, bank, folder, site.progress, deadline=site.deadline)
            checkpoints.append(trained.checkpoint)
            held_out.append(trained.held_out)
            history = history or tuple(round(loss, 6) for loss in trained.history)
    except TrainingError as error:
        reason = error.message
    else:
        probabilities = np.concatenate(held_out)
        if np.isfinite(probabilities).all():
            probabilities = _calibrated(unit, splits, probabilities, site.dataset.labels)
        else:
            reason = f"{unit.name}: its predictions are not numbers."
    result = Result(
        held_out=None if reason else probabilities,
        reason=reason,
        seconds=time.monotonic() - started,
        history=history,
        checkpoints=tuple(checkpoints),
        threads=hardware.prepare().threads,
    )
    if not site.is_home:
        result.drop_checkpoints()  # the driver cannot
    return result


def _calibrated(
    unit: Unit, splits: Splits, probabilities: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    # Without this, the log-loss of configurations would differ by their label smoothing first of
    # all, and the least smoothed would win whatever it gets wrong.
    rows = splits.trial_rows if unit.round is None else splits.race(unit.round)[1]
    joined = probabilities.astype(np.float64)
    temperature = best_temperature(joined, labels[rows])
    return temper(joined, temperature).astype(np.float32)


def _seed(unit: Unit, splits: Splits, settings: ScoringSettings) -> int:
    return settings.seed if unit.round is None else splits.race_seed(unit.round)


def _jobs(unit: Unit, splits: Splits, settings: ScoringSettings) -> list[TrainingJob]:
    seed = _seed(unit, splits, settings)
    parts = splits.trial if unit.round is None else [splits.race(unit.round)]
    return [
        TrainingJob(
            name=unit.name if len(parts) == 1 else f"{unit.name}, fold {fold}",
            config=unit.config,
            train_rows=train_rows,
            held_out_rows=held_out_rows,
            epochs=unit.epochs,
            copies=settings.copies,
            seed=seed,
            predict_test=False,
        )
        for fold, (train_rows, held_out_rows) in enumerate(parts)
    ]
