"""A time budget spent on fold sets: measured at the start, corrected by what members take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ensembles.planning import (
    Allotment,
    Candidate,
    Pace,
    Paces,
    Prices,
    allot,
    describe,
    to_measure,
)
from ensembles.trainer import Trainer
from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import augment, find_policy
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.progress import Progress
from kaggle_digits.records.plan import FoldSet, MemberKey

_RESERVE = 0.03
"""Share of the time that is not planned with: figures measured in seconds are not that exact."""

_MEASURED_SECONDS = 6.0
_MEASURED_SHARE = 0.02
"""Of the time, so that measuring does not use up a short one."""

_AUGMENTED_TO_MEASURE = 1000
_STORING = 0.3
"""Seconds to write a member and its last checkpoint."""


class Spender:
    """Trains fold sets as long as whole ones fit into a budget.

    Args:
        trainer: Trains the members.
        copies: Augmented copies a member walks through at most.
        deadline: A limit of time.
        progress: Told of the plan.
    """

    def __init__(
        self, trainer: Trainer, copies: int, deadline: Deadline, progress: Progress
    ) -> None:
        self._trainer = trainer
        self._copies = copies
        assert deadline.seconds is not None, "there is nothing to plan for without a limit"
        self._deadline = deadline
        self._seconds = deadline.seconds
        self._progress = progress
        self._paces = Paces()
        self._speeds: dict[str, Any] = {}
        self._copying: dict[tuple[str, bool], float] = {}

    def candidates(self, sets: Sequence[FoldSet], *, stored: bool) -> list[Candidate]:
        """Return fold sets with what is known of them.

        Args:
            sets: In the order they are trained in.
            stored: Whether they are those of an interrupted plan: then sets that were begun keep
                their epochs.
        """
        found = []
        for fold_set in sets:
            keys = self._trainer.keys(fold_set)
            there = sum(map(self._trainer.is_there, keys))
            under_way = any(map(self._trainer.store.is_resumable, keys))
            found.append(Candidate(fold_set, stored and (there > 0 or under_way), there))
        return found

    def spend(
        self,
        candidates: Sequence[Candidate],
        plan: Callable[[Sequence[MemberKey]], None],
        *,
        parts: int,
        first_is_due: bool,
    ) -> list[MemberKey]:
        """Train fold sets of one round while they fit.

        Before each set its epochs are computed anew from what the members before it took.

        Args:
            candidates: In order; all of one round.
            plan: Told of the members that are planned now, whenever that changes.
            parts: Rounds that are still to come, this one included; they share the time evenly.
            first_is_due: Whether the first set is made whatever time it takes.

        Returns:
            The members of the sets that were made; all are there.
        """
        made: list[MemberKey] = []
        rest = list(candidates)
        pseudo_rows = self._pseudo_rows(rest)
        later = self._left() * (1 - 1 / parts)
        while rest:
            found, prices = self._allot(
                rest, later, pseudo_rows, first_is_due=first_is_due and not made
            )
            if not made:
                speeds = {name: speed.images_per_second for name, speed in self._speeds.items()}
                for line in describe(found, prices, speeds, self._seconds):
                    self._progress.say(line)
            if not found:
                break
            members = [key for item in found for key in self._trainer.keys(item.fold_set)]
            plan([*made, *members])
            self._trainer.tell_of_weights(self._trainer.keys(found[0].fold_set))
            made += self._make(found[0])
            if found[0].epochs < rest[0].fold_set.epochs:
                break
            rest = rest[1:]
        plan(made)
        return made

    def _left(self) -> float:
        """Return the seconds that can be planned with, negative once they are used up."""
        return self._deadline.left - self._seconds * _RESERVE

    def _make(self, item: Allotment) -> list[MemberKey]:
        keys = self._trainer.keys(item.fold_set)
        with self._progress.task(f"fold set {keys[0].set_name}", len(keys), "members") as task:
            for key, taken in self._trainer.make_all(keys, task):
                self._paces.note(key.config, key.epochs, taken)
        return keys

    def _allot(
        self, rest: Sequence[Candidate], later: float, pseudo_rows: float, *, first_is_due: bool
    ) -> tuple[list[Allotment], Prices]:
        """Return what fits of the sets that are left, keeping so many seconds for later rounds."""
        while True:
            left = self._left() - later
            prices = self._prices(rest, pseudo_rows)
            config = to_measure(rest, left, prices)
            if config is None:
                return allot(rest, left, prices, first_is_due=first_is_due), prices
            self._measure(config)

    def _measure(self, config: TrainingConfig) -> None:
        seconds = min(_MEASURED_SECONDS, max(1.0, _MEASURED_SHARE * self._seconds))
        self._progress.say(f"measuring {config.digest[:8]}")
        self._speeds[config.digest] = self._trainer.measure(config, seconds)

    def _prices(self, candidates: Sequence[Candidate], pseudo_rows: float) -> Prices:
        configs = {item.fold_set.config.digest: item.fold_set.config for item in candidates}
        test = bool(candidates) and candidates[0].fold_set.round > 0
        self._paces.measured = {
            name: self._pace(configs[name], pseudo_rows, test=test)
            for name in configs
            if name in self._speeds
        }
        banks = {config.inputs: config for config in configs.values()}
        made = {name: self._copies_made(config, test=test) for name, config in banks.items()}
        return Prices(
            self._trainer.folds.count,
            self._copies,
            self._paces.now(),
            made,
            # Nobody is chosen before something has to be measured.
            self._trainer.engine.workers if self._speeds else 1,
        )

    def _pace(self, config: TrainingConfig, pseudo_rows: float, *, test: bool) -> Pace:
        dataset, folds = self._trainer.dataset, self._trainer.folds.count
        speed = self._speeds[config.digest]
        rows = len(dataset.images)
        predicted = rows / folds + len(dataset.test_images)
        return Pace(
            member=speed.start_up + predicted / speed.predictions_per_second + _STORING,
            epoch=(rows * (folds - 1) / folds + pseudo_rows) / speed.images_per_second,
            copy=self._seconds_per_copy(config.augmentation, test=test),
        )

    def _copies_made(self, config: TrainingConfig, *, test: bool) -> int:
        """Return how many of a bank's first copies are there."""
        missing = self._trainer.bank(config, test=test).missing(range(self._copies))
        return missing[0] if missing else self._copies

    def _seconds_per_copy(self, name: str, *, test: bool) -> float:
        if (name, test) not in self._copying:
            policy, dataset = find_policy(name), self._trainer.dataset
            images = dataset.test_images if test else dataset.images
            seconds = 0.0
            if policy is not None:
                shown = np.asarray(images[:_AUGMENTED_TO_MEASURE])
                augment(shown[:1], policy, (0, 0))  # the first call imports albumentations
                started = time.monotonic()
                augment(shown, policy, (0, 0))
                taken = time.monotonic() - started
                seconds = taken * len(images) / len(shown) / hardware.available_threads()
            self._copying[name, test] = seconds
        return self._copying[name, test]

    def _pseudo_rows(self, candidates: Sequence[Candidate]) -> float:
        """Return how many test images join a member's training, on the average of the folds."""
        if not candidates or not candidates[0].fold_set.round:
            return 0.0
        round = candidates[0].fold_set.round
        counts = [
            len(self._trainer.pseudo_labels(round, fold).rows)
            for fold in range(self._trainer.folds.count)
        ]
        return float(np.mean(counts))
