"""How a configuration is scored: on which rows, by which training jobs, with which seeds.

A trial trains on a fixed stratified sample and is scored on a fixed holdout, or, with folds, on the
out-of-fold rows of the sample. All trials share rows and seed, so they differ by configuration
alone. The race has folds and seeds of its own, common to all racers. Predictions are calibrated by
one temperature each before they are scored.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.folds import holdout
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import DataError, TrainingError
from kaggle_digits.ground.files import remove
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


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
        key: Names it within the study.
        name: How progress and messages name it.
        config: The configuration.
        epochs: Passes over the training rows.
        round: The race's round; None for a trial.
    """

    key: str
    name: str
    config: TrainingConfig
    epochs: int
    round: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self) | {"config": self.config.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make a unit from `to_json`'s dictionary."""
        return cls(**(dict(values) | {"config": TrainingConfig.from_json(values["config"])}))


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came of a unit.

    Args:
        held_out: Softmax on the unit's held-out rows, float32 [rows, classes]; None if it failed.
        reason: Why it failed; empty otherwise.
        seconds: Wall time.
        history: Mean training loss of each epoch, in nats; of the first network where there are
            several.
        checkpoints: Files on this machine that the unit would go on from.
    """

    held_out: np.ndarray | None
    reason: str = ""
    seconds: float = 0.0
    history: tuple[float, ...] = ()
    checkpoints: tuple[Path, ...] = ()

    def drop_checkpoints(self) -> None:
        """Remove what the unit would go on from; to be called once its result is stored."""
        for checkpoint in self.checkpoints:
            remove(checkpoint)


class Splits:
    """The rows every trial and every round of the race is trained and scored on.

    Args:
        labels: int64 [rows], class indices of the data.
        settings: What decides the rows.

    Raises:
        DataError: A class has too few rows for the folds.
    """

    def __init__(self, labels: np.ndarray, settings: ScoringSettings) -> None:
        self._labels = labels
        self._settings = settings
        held_out = settings.rows // 2
        train_rows, held_out_rows = holdout(labels, settings.rows, held_out, settings.seed)
        if settings.folds:
            sample = np.sort(np.concatenate([train_rows, held_out_rows]))
            fewest = min(Counter(labels[sample].tolist()).values())
            if fewest < settings.folds:
                raise DataError(
                    f"A class has {fewest} rows among the {len(sample)} that trials use; "
                    f"{settings.folds} folds need {settings.folds} or more.",
                    mend="Give fewer --folds.",
                )
            self.trial = _folds(labels, sample, settings.folds, settings.seed)
        else:
            self.trial = [(train_rows, held_out_rows)]
        # The race's rows are none of those the racers were chosen by, where the data has enough.
        others = np.setdiff1d(np.arange(len(labels)), held_out_rows)
        wanted = settings.rows + held_out
        if len(others) < wanted or len(np.unique(labels[others])) < len(np.unique(labels)):
            others = np.arange(len(labels))
        if len(others) > wanted + held_out:
            chosen, _ = holdout(labels[others], wanted, held_out, settings.seed)
            others = others[chosen]
        self._race_rows = others
        self._partitions: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self.race_folds = min(settings.race_folds, min(Counter(labels[others].tolist()).values()))

    @property
    def trial_rows(self) -> np.ndarray:
        """The rows a trial's predictions are of, int64, in their order."""
        return np.concatenate([held_out for _, held_out in self.trial])

    def race(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the training and the held-out rows of one of the race's rounds, int64."""
        repeat, fold = divmod(number, self.race_folds)
        if repeat not in self._partitions:
            self._partitions[repeat] = _folds(
                self._labels, self._race_rows, self.race_folds, self.race_seed(number)
            )
        return self._partitions[repeat][fold]

    def race_seed(self, number: int) -> int:
        """Return the seed that all networks of a round are trained with."""
        return self._settings.seed + 1 + number // self.race_folds


class Scorer:
    """Trains what a unit asks for, in this process.

    Args:
        dataset: The data.
        workspace: Its cache holds the bank and the checkpoints.
        settings: What decides scores.
        alone: Opened while the bank is made; a lock where several processes share the workspace.
    """

    def __init__(
        self,
        dataset: Dataset,
        workspace: Workspace,
        settings: ScoringSettings,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._dataset = dataset
        self._workspace = workspace
        self._settings = settings
        self._alone = alone
        self.splits = Splits(dataset.labels, settings)

    def run(self, unit: Unit, progress: Progress) -> Result:
        """Train a unit's networks and predict its held-out rows.

        A unit that is called again after a kill goes on from its networks' checkpoints.

        Raises:
            CutError: `progress` ends the work.
        """
        started = time.monotonic()
        bank = Bank(
            self._dataset,
            unit.config.augmentation,
            self._settings.seed,
            self._workspace,
            normalisation=unit.config.normalisation,
        )
        with self._alone():
            bank.ensure(self._settings.copies, hardware.available_threads(), progress)
        held_out: list[np.ndarray] = []
        history: tuple[float, ...] = ()
        checkpoints = []
        folder = self._workspace.cache / "checkpoints"
        try:
            for job in self._jobs(unit):
                trained = train(job, self._dataset, bank, folder, progress)
                checkpoints.append(trained.checkpoint)
                held_out.append(trained.held_out)
                history = history or tuple(round(loss, 6) for loss in trained.history)
        except TrainingError as error:
            reason = error.message
        else:
            probabilities = np.concatenate(held_out)
            reason = ""
            if not np.isfinite(probabilities).all():
                reason = f"{unit.name}: its predictions are not numbers."
            else:
                probabilities = self._calibrated(unit, probabilities)
        return Result(
            held_out=None if reason else probabilities,
            reason=reason,
            seconds=time.monotonic() - started,
            history=history,
            checkpoints=tuple(checkpoints),
        )

    def _calibrated(self, unit: Unit, probabilities: np.ndarray) -> np.ndarray:
        # Without this, the log-loss of configurations would differ by their label smoothing first
        # of all, and the least smoothed would win whatever it gets wrong.
        rows = self.splits.trial_rows
        if unit.round is not None:
            _, rows = self.splits.race(unit.round)
        joined = probabilities.astype(np.float64)
        temperature = best_temperature(joined, self._dataset.labels[rows])
        return temper(joined, temperature).astype(np.float32)

    def _jobs(self, unit: Unit) -> list[TrainingJob]:
        seed = self._settings.seed
        splits = self.splits.trial
        if unit.round is not None:
            seed = self.splits.race_seed(unit.round)
            splits = [self.splits.race(unit.round)]
        return [
            TrainingJob(
                name=unit.name if len(splits) == 1 else f"{unit.name}, fold {fold}",
                config=unit.config,
                train_rows=train_rows,
                held_out_rows=held_out_rows,
                epochs=unit.epochs,
                copies=self._settings.copies,
                seed=seed,
                predict_test=False,
            )
            for fold, (train_rows, held_out_rows) in enumerate(splits)
        ]


def _folds(
    labels: np.ndarray, rows: np.ndarray, count: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return [
        (rows[train_rows], rows[held_out])
        for train_rows, held_out in splitter.split(np.zeros(len(rows)), labels[rows])
    ]
