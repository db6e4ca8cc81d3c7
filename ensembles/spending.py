"""A time budget spent on fold sets: measured at the start, corrected by what members take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ensembles.lengthening import WORTH, Curve
from ensembles.planning import (
    SMALL_SHARE,
    Allotment,
    Candidate,
    Pace,
    Paces,
    Prices,
    allot,
    describe,
    needs_small,
    small_first,
    to_measure,
)
from ensembles.trainer import Trainer
from kaggle_digits.core.augmentation import augment, find_policy
from kaggle_digits.engine import copy_workers
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline, OutOfTimeError
from kaggle_digits.ground.durations import duration
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

_STARTING = 4.0
"""Seconds that measuring takes beside its own, before it has been seen: a network is compiled."""


class Spender:
    """Trains fold sets as long as whole ones fit into a budget.

    Args:
        trainer: Trains the members.
        copies: Augmented copies a member walks through at most.
        deadline: A limit of time.
        progress: Told of the plan.
        may_lengthen: Whether sets may have more epochs than their candidates say where the learning
            curve still gains.

    Attributes:
        unfinished: Members of a set that was cut when the time was over; a later call goes on.
    """

    def __init__(
        self,
        trainer: Trainer,
        copies: int,
        deadline: Deadline,
        progress: Progress,
        *,
        may_lengthen: bool = False,
    ) -> None:
        self.unfinished: list[MemberKey] = []
        self._trainer = trainer
        self._copies = copies
        assert deadline.seconds is not None, "there is nothing to plan for without a limit"
        self._deadline = deadline
        self._seconds = deadline.seconds
        self._progress = progress
        self._paces = Paces()
        self._curves: dict[str, Curve] = {}
        self._may_lengthen = may_lengthen
        self._measuring: float | None = None
        self._epochs = self._tried = 0
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

        Before each set its epochs are computed anew from what the members before it took. A set is
        cut when the time is over, unless it is the first that is due.

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
            due = first_is_due and not made
            found, small, prices = self._allot(rest, later, pseudo_rows, first_is_due=due)
            if not made or small or (found and rest[0].small):
                self._describe(found, small, prices)
            if not found and small is None:
                if not rest[0].begun or self._deadline.has_passed:
                    break
                # What was begun goes on, call by call, if it takes several.
                found = [Allotment(rest[0], rest[0].fold_set.epochs, self._deadline.left)]
            first = small or found[0]
            members = self._trainer.keys(first.fold_set)
            others = found if small else found[1:]
            coming = [key for item in others for key in self._trainer.keys(item.fold_set)]
            plan([*made, *members, *coming])
            self._trainer.tell_of_weights(members)
            if not self._make(members, None if due else self._deadline):
                self.unfinished = members
                break
            made = self._joined(made, members)
            if small or (due and first.epochs < rest[0].fold_set.epochs):
                # A first set that was planned on a busy machine may leave more time than thought.
                rest = self._after_small(first, rest)
                continue
            if first.epochs < rest[0].fold_set.epochs:
                break
            done = replace(rest[0], fold_set=first.fold_set)
            rest = self._lengthened(done, rest[1:], later, prices)
        plan([*made, *self.unfinished])
        return made

    def _left(self) -> float:
        """Return the seconds that can be planned with, negative once they are used up."""
        return self._deadline.left - self._seconds * _RESERVE

    def _make(self, keys: Sequence[MemberKey], deadline: Deadline | None) -> bool:
        """Train a set; return whether it is whole, or the time was over before."""
        name = keys[0].set_name
        try:
            with self._progress.task(f"fold set {name}", len(keys), "members") as task:
                for key, taken in self._trainer.make_all(keys, task, deadline):
                    self._paces.note(key.config, key.epochs, taken)
        except OutOfTimeError:
            self._progress.say(f"fold set {name}: cut, the time is over; a later call goes on")
            return False
        return True

    def _describe(
        self, found: Sequence[Allotment], small: Allotment | None, prices: Prices
    ) -> None:
        speeds = {name: speed.images_per_second for name, speed in self._speeds.items()}
        for line in describe(found, prices, speeds, max(self._deadline.left, 0.0), small):
            self._progress.say(line)

    def _joined(self, made: list[MemberKey], new: list[MemberKey]) -> list[MemberKey]:
        """Return the members that stay once a set is made.

        Its held-out log-loss is a point of the learning curve. A set of the same configuration with
        fewer epochs, trained too short, leaves unless the mean with it is better.
        """
        fold_set = new[0].fold_set
        if fold_set.round or all(key.config != fold_set.config for key in made):
            self._put_loss(new)
            return [*made, *new]
        alone = self._put_loss(new)
        sets: dict[FoldSet, list[MemberKey]] = {}
        for key in made:
            sets.setdefault(key.fold_set, []).append(key)
        kept: list[MemberKey] = []
        for other, keys in sets.items():
            is_shorter = other.config == fold_set.config and other.epochs < fold_set.epochs
            if is_shorter and not self._trainer.log_loss([new, keys]) < alone:
                self._progress.say(
                    f"fold set {other.name}: leaves the plan, longer training is better without it"
                )
                continue
            kept += keys
        return [*kept, *new]

    def _put_loss(self, keys: list[MemberKey]) -> float:
        fold_set = keys[0].fold_set
        loss = self._trainer.log_loss([keys])
        if not fold_set.round:
            curve = self._curves.setdefault(fold_set.config.digest, Curve())
            curve.losses.setdefault(fold_set.epochs, loss)
        return loss

    def _wants_point(self, candidate: Candidate) -> bool:
        """Say whether a second small set is to tell how the learning curve goes on."""
        curve = self._curves.get(candidate.fold_set.config.digest)
        return self._may_lengthen and bool(candidate.small and curve and len(curve.losses) == 1)

    def _after_small(self, small: Allotment, rest: list[Candidate]) -> list[Candidate]:
        """Return the sets that are left, with as many epochs as the learning curve makes enough."""
        curve = self._curves[small.fold_set.config.digest]
        gain = curve.gain()
        first = replace(rest[0], small=small.epochs)
        if not self._may_lengthen or gain is None:
            return [first, *rest[1:]]
        enough = curve.enough(len(self._trainer.dataset.images))
        self._progress.say(
            f"learning curve: {small.epochs} epochs have {gain:.0%} less log-loss than half as "
            f"many; {max(enough, small.epochs)} are taken as enough"
        )
        if enough <= small.epochs:  # it is no small set, then
            return _with_epochs(rest[1:], small.epochs)
        return _with_epochs([first, *rest[1:]], enough)

    def _lengthened(
        self, done: Candidate, rest: list[Candidate], later: float, prices: Prices
    ) -> list[Candidate]:
        """Return the sets that are left with the epochs that the learning curve says are worth it.

        Args:
            done: The set that was made last, with all its epochs.
            rest: The sets that are left.
            later: Seconds for later rounds.
            prices: What they cost.
        """
        if not self._may_lengthen or not rest or done.fold_set.round or rest[0].begun:
            return rest
        epochs = done.fold_set.epochs
        curve = self._curves[done.fold_set.config.digest]
        if self._tried == epochs:
            gain = curve.gain() or 0.0
            words = f"{epochs} epochs: log-loss {curve.losses[epochs]:.4f}, {gain:.1%} below"
            worth = gain >= WORTH
            self._progress.say(
                f"{words} that of {self._epochs}; {epochs if worth else self._epochs} from here on"
            )
            if not worth:
                self._may_lengthen = False
                return _with_epochs(rest, self._epochs)
        self._epochs, longer = epochs, _with_epochs(rest[:1], 2 * epochs)
        following = self._curves.get(rest[0].fold_set.config.digest, Curve())
        if epochs in following.losses:
            # The configuration's first set is there, so that there is something to compare with.
            needed = following.sets_needed * prices.seconds(longer[0], 2 * epochs)
            if following.still_gains and needed <= self._left() - later:
                self._tried = 2 * epochs
                self._progress.say(f"trying {2 * epochs} epochs: the learning curve may still gain")
                return [*longer, *_with_epochs(rest[1:], epochs)]
        return _with_epochs(rest, epochs)

    def _allot(
        self, rest: Sequence[Candidate], later: float, pseudo_rows: float, *, first_is_due: bool
    ) -> tuple[list[Allotment], Allotment | None, Prices]:
        """Return what fits of the sets that are left, and the small set that comes before them.

        Args:
            rest: The sets that are left.
            later: Seconds that are kept for later rounds.
            pseudo_rows: Test images that join a member's training.
            first_is_due: Whether the first of them is made whatever it takes.
        """
        while True:
            left = self._left() - later
            prices = self._prices(rest, pseudo_rows)
            config = to_measure(rest, left, prices, self._measuring_price)
            if config is not None:
                self._measure(config)
                continue
            wants_small = (
                needs_small(rest[0], left, prices) if first_is_due else self._wants_point(rest[0])
            )
            if not wants_small:
                return allot(rest, left, prices, first_is_due=first_is_due), None, prices
            small = small_first(rest[0], left, prices)
            if small is None:
                # None fits; if there is none, its time is kept for a machine that gets slower.
                share = 1 - SMALL_SHARE if first_is_due else 1
                if first_is_due and self._may_lengthen:
                    # The curve stays unknown: one set of up to twice the epochs gains nearly as
                    # much as a second set where it is flat, and far more where it is steep.
                    twice = _with_epochs(rest[:1], 2 * rest[0].fold_set.epochs)
                    rest = [*twice, *rest[1:]]
                return allot(rest, left * share, prices, first_is_due=first_is_due), None, prices
            after = [replace(rest[0], small=small.epochs), *rest[1:]]
            later_prices = prices.after(small.candidate, small.epochs)
            found = allot(after, left - small.seconds, later_prices, first_is_due=False)
            return found, small, prices

    @property
    def _measured_seconds(self) -> float:
        return min(_MEASURED_SECONDS, max(1.0, _MEASURED_SHARE * self._seconds))

    @property
    def _measuring_price(self) -> float:
        """What measuring a configuration takes, as far as is known."""
        known = self._measuring
        return self._measured_seconds + _STARTING if known is None else known

    def _measure(self, config: TrainingConfig) -> None:
        left = self._deadline.left
        self._progress.say(f"measuring {config.digest[:8]}: some {duration(self._measuring_price)}")
        self._speeds[config.digest] = self._trainer.measure(config, self._measured_seconds)
        self._measuring = left - self._deadline.left

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
            copy_workers(self._copies, len(self._trainer.dataset.images)),
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
                seconds = taken * len(images) / len(shown)
            self._copying[name, test] = seconds
        return self._copying[name, test]

    def _pseudo_rows(self, candidates: Sequence[Candidate]) -> float:
        """Return how many test images join a member's training, on the average of the folds."""
        if not candidates or not candidates[0].fold_set.round:
            return 0.0
        pseudo_round = candidates[0].fold_set.round
        counts = [
            len(self._trainer.pseudo_labels(pseudo_round, fold).rows)
            for fold in range(self._trainer.folds.count)
        ]
        return float(np.mean(counts))


def _with_epochs(candidates: Sequence[Candidate], epochs: int) -> list[Candidate]:
    return [
        item if item.begun else replace(item, fold_set=replace(item.fold_set, epochs=epochs))
        for item in candidates
    ]
