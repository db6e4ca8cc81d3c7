"""Searches whose training is stood in for by a formula, so that a trial takes a millisecond."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits.core.data import load
from kaggle_digits.engine import Resources
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import TrainingError
from kaggle_digits.ground.progress import Silent
from kaggle_digits.ground.workspace import Workspace
from tuning import scoring
from tuning.coordination import Goals
from tuning.narrowing import narrow
from tuning.search import Found, SearchSettings, search

SHAPE = (28, 28, 10)
# No bank: its copies would take longer than the searches.
SPACE = narrow({"augmentation": "none"}, "the test")
SETTINGS = SearchSettings(
    epochs=4,
    rows=30,
    copies=1,
    max_megamacs=20,
    seed=0,
    strategy="random",
    race_folds=3,
    space=SPACE,
    portfolio=(TrainingConfig(augmentation="none"), TrainingConfig(depth=1, augmentation="none")),
)


class Stop(BaseException):
    """Stands for a kill."""


def badness(config: TrainingConfig) -> float:
    """A score that depends on the configuration alone; the lower the better."""
    return (
        abs(config.dropout - 0.4)
        + 0.1 * abs(config.depth - 2)
        + 0.1 * abs(np.log(config.learning_rate / 0.006))
        + 0.3 * (config.family != "pooled")
    )


class Formula:
    """In the place of training: what the labels get depends on the configuration and the epochs."""

    Kill = Stop

    def __init__(self) -> None:
        """Begin with nothing that fails."""
        self.names: list[str] = []
        self.jobs: list = []
        self.failing: set[str] = set()
        self.killed: set[str] = set()
        self.not_numbers: set[str] = set()
        self.seconds = 0.0
        self.clock: Callable[[], float] = time.monotonic
        self.wait: Callable[[float], None] = time.sleep
        self._now = 0.0

    def use_own_clock(self) -> None:
        """Let only training take time, and none of it in earnest."""

        def wait(seconds: float) -> None:
            self._now += seconds

        self.clock, self.wait = lambda: self._now, wait

    def __call__(self, job, dataset, bank, checkpoints, progress, *, deadline, **_):
        """Stand in for `core.training.train`."""
        self.names.append(job.name)
        self.jobs.append(job)
        if job.name in self.killed:
            raise self.Kill
        if job.name in self.failing:
            raise TrainingError(f"{job.name} ran out of memory")
        with progress.task(job.name, job.epochs) as task:
            for _ in range(job.epochs):
                self.wait(self.seconds / job.epochs)
                task.advance()
                deadline.check()
        labels = dataset.labels[job.held_out_rows]
        random = np.random.default_rng([job.seed, *job.held_out_rows[:2]])
        noise = np.exp(random.normal(0, 0.3, len(labels)))
        wrong = np.clip((badness(job.config) + 0.3 / job.epochs) * noise * 0.2, 0.01, 0.6)
        # Some rows are plainly wrong, without which calibration would turn every loss into 0.
        wrong[::5] = 0.75 + wrong[::5] / 4
        classes = len(dataset.competition.classes)
        held_out = np.repeat(wrong[:, None] / (classes - 1), classes, axis=1)
        held_out[np.arange(len(labels)), labels] = 1 - wrong
        if job.name in self.not_numbers:
            held_out[0, 0] = np.nan
        return SimpleNamespace(
            held_out=held_out.astype(np.float32),
            history=[1 / (epoch + 1) for epoch in range(job.epochs)],
            checkpoint=checkpoints / "none.npz",
        )


@pytest.fixture
def dataset(make, workspace):
    """60 rows in 3 classes."""
    return load(make(height=8, width=8, rows=60).folder, workspace)


@pytest.fixture
def formula(monkeypatch) -> Formula:
    """Put the formula in the place of training."""
    made = Formula()
    made.use_own_clock()
    monkeypatch.setattr(scoring, "train", made)
    monkeypatch.setattr(scoring, "time", SimpleNamespace(monotonic=made.clock))
    return made


@pytest.fixture
def go(dataset, workspace, formula):
    """Search by the formula and its clock; takes fields of `SearchSettings` by name."""

    def go(
        trials: int | None,
        place: Workspace = workspace,
        *,
        data=dataset,
        racers: int = 0,
        seconds: float | None = None,
        progress=None,
        workers: int = 1,
        averaged: int = 0,
        **changed,
    ) -> Found:
        return search(
            data,
            place,
            dataclasses.replace(SETTINGS, **changed),
            Goals(trials, racers),
            Deadline(seconds, clock=formula.clock),
            progress or Silent(),
            Resources(workers),
            averaged=averaged,
        )

    go.settings = SETTINGS
    return go
