"""Which fold sets are trained, in what order, and what of them fits into a time budget.

Values and arithmetic only: nothing here trains, and no clock is read but the one that is given.

The rule: all folds of the best configuration first, then those of the next one, and so on; then
the same again with other seeds. Each set has as many epochs as are enough for data of this size
(`ensembles.lengthening`) as long as it fits; the last one may have fewer, half of them at least.

The first set is always made. One that takes a good part of the time is made small before, and,
where that costs little, once more with twice the epochs: then there is something to submit whatever
the machine does later, what a member takes is known from members, and the learning curve has its
first points. Small sets leave the plan for the longer one unless the mean with them is better.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.progress import counted
from kaggle_digits.records.plan import FoldSet

MOST_SEEDS = 100
"""Trainings of one configuration with other seeds, at most."""

SMALL_SHARE = 0.15
"""Of the time: what small sets cost at most, or, where none fits into it, what is kept for a
machine that gets slower."""

_FIRST_SMALL_SHARE = 0.05
"""Of the time: what the first of them costs at most; the second has twice its epochs."""

_AT_ONCE_SHARE = 0.25
"""Of the time: a first set that costs no more is made at once, with all its epochs."""

_LEAST_GROWTH = 1.5
"""A longer set has so many times the epochs of the small one at least."""

_WORKERS_START = 2.5
"""Seconds until the processes that augment have started and imported albumentations."""


def in_order(
    configs: Sequence[TrainingConfig], seeds: int, epochs: int, pseudo_round: int = 0
) -> Iterator[FoldSet]:
    """Yield fold sets in the order they are trained in.

    Args:
        configs: In the order of training.
        seeds: Trainings of each.
        epochs: Of each set.
        pseudo_round: Of pseudo-labels, of each set.
    """
    for repeat in range(seeds):
        for config in configs:
            yield FoldSet(config, repeat, pseudo_round, epochs)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fold set that may be trained within a budget.

    Args:
        fold_set: Which one, with the most epochs it may have.
        begun: Whether members of it are there, or under way, so that its epochs are fixed.
        there: How many of its members are there with all its epochs.
        small: Epochs of the small set that was made of it; 0 for none.
    """

    fold_set: FoldSet
    begun: bool = False
    there: int = 0
    small: int = 0

    @property
    def least(self) -> int:
        """The fewest epochs that are worth while where other sets are there already."""
        if self.begun:
            return self.fold_set.epochs
        if self.small:
            return min(math.ceil(self.small * _LEAST_GROWTH), self.fold_set.epochs)
        return -(-self.fold_set.epochs // 2)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the parts of a member's training take, in seconds.

    Args:
        member: What each member takes whatever its epochs: start-up, predictions, storing.
        epoch: An epoch.
        copy: Making one copy of the augmentation bank, by one process.
    """

    member: float
    epoch: float
    copy: float = 0.0

    def seconds(self, epochs: int) -> float:
        """Return the time of one member, the bank aside."""
        return self.member + epochs * self.epoch

    def scaled(self, factor: float) -> Pace:
        """Return the pace of a machine that is `factor` times slower."""
        return Pace(self.member * factor, self.epoch * factor, self.copy)


@dataclass(frozen=True, slots=True)
class Prices:
    """What fold sets cost.

    Args:
        folds: Members of a set.
        copies: Augmented copies a member walks through at most.
        paces: By the configuration's digest; what is not in it has not been measured.
        made: Copies of the bank that are there, by `TrainingConfig.inputs`.
        workers: Members trained at a time; paces are those of one of them.
        copying: Processes that make copies.
    """

    folds: int
    copies: int
    paces: Mapping[str, Pace]
    made: Mapping[str, int] = field(default_factory=dict)
    workers: int = 1
    copying: int = 1

    def knows(self, candidate: Candidate) -> bool:
        """Say whether the price of a set is known; what is there already costs nothing."""
        return candidate.there >= self.folds or candidate.fold_set.config.digest in self.paces

    def seconds(self, candidate: Candidate, epochs: int) -> float:
        """Return what a set costs with so many epochs."""
        fold_set = candidate.fold_set
        there = candidate.there if epochs == fold_set.epochs else 0
        if there >= self.folds:
            return 0.0
        pace = self.paces[fold_set.config.digest]
        turns = -(-(self.folds - there) // self.workers)
        return turns * pace.seconds(epochs) + self.augmenting(candidate, epochs)[1]

    def augmenting(self, candidate: Candidate, epochs: int) -> tuple[int, float]:
        """Return how many copies of the bank a set still needs, and the seconds they take."""
        config = candidate.fold_set.config
        pace = self.paces.get(config.digest)
        copies = max(0, min(epochs, self.copies) - self.made.get(config.inputs, 0))
        if pace is None or not copies or not pace.copy:
            return 0, 0.0
        start = _WORKERS_START if self.copying > 1 else 0.0
        return copies, start + -(-copies // self.copying) * pace.copy

    def after(self, candidate: Candidate, epochs: int) -> Prices:
        """Return the prices once a set is made: its copies of the bank are there for the next."""
        inputs = candidate.fold_set.config.inputs
        made = max(self.made.get(inputs, 0), min(epochs, self.copies))
        return dataclasses.replace(self, made={**self.made, inputs: made})


@dataclass(frozen=True, slots=True)
class Allotment:
    """A set that fits.

    Args:
        candidate: Which one.
        epochs: How many it gets.
        seconds: What is still to be spent on it.
    """

    candidate: Candidate
    epochs: int
    seconds: float

    @property
    def fold_set(self) -> FoldSet:
        """The set with the epochs it gets."""
        return dataclasses.replace(self.candidate.fold_set, epochs=self.epochs)


def needs_small(candidate: Candidate, left: float, prices: Prices) -> bool:
    """Say whether the first set takes so much of the time that a small one should come before it.

    Args:
        candidate: The first set.
        left: Seconds.
        prices: What sets cost.
    """
    if candidate.begun or candidate.there:
        return False
    return prices.seconds(candidate, candidate.fold_set.epochs) > left * _AT_ONCE_SHARE


def small_first(candidate: Candidate, left: float, prices: Prices) -> Allotment | None:
    """Return the small set that comes before the first, or None if none fits.

    Args:
        candidate: The first set.
        left: Seconds.
        prices: What sets cost.
    """
    most = candidate.fold_set.epochs
    if candidate.small:
        twice = 2 * candidate.small
        seconds = prices.seconds(candidate, twice)
        fits = seconds <= left * (SMALL_SHARE - _FIRST_SMALL_SHARE)
        return Allotment(candidate, twice, seconds) if fits and twice < most else None
    # Where it is too costly for two, there is one, if need be of a single epoch.
    for share in (_FIRST_SMALL_SHARE, SMALL_SHARE):
        epochs = _most_epochs(candidate, 1, left * share, prices)
        if epochs is not None:
            return Allotment(candidate, epochs, prices.seconds(candidate, epochs))
    return None


def allot(
    candidates: Iterable[Candidate], left: float, prices: Prices, *, first_is_due: bool
) -> list[Allotment]:
    """Return which sets fit into a time, and with how many epochs.

    Args:
        candidates: In the order they are trained in.
        left: Seconds.
        prices: What they cost.
        first_is_due: Whether the first is made in any case: with as many epochs as fit, or one.

    Returns:
        A beginning of the candidates. It ends before the first that does not fit or whose price is
        not known, and after the first that gets fewer epochs than it may have.
    """
    found: list[Allotment] = []
    for candidate in candidates:
        if not prices.knows(candidate):
            break
        due = first_is_due and not found
        least = candidate.least if candidate.begun or not due else 1
        epochs = _most_epochs(candidate, least, left, prices)
        if epochs is None:
            if not due:
                break
            epochs = least
        seconds = prices.seconds(candidate, epochs)
        found.append(Allotment(candidate, epochs, seconds))
        left -= seconds
        prices = prices.after(candidate, epochs)
        if epochs < candidate.fold_set.epochs:
            break
    return found


def to_measure(
    candidates: Sequence[Candidate], left: float, prices: Prices, price: float = 0.0
) -> TrainingConfig | None:
    """Return the next configuration whose pace decides what fits; None if none does.

    A configuration whose turn would not come within the time needs no measuring.

    Args:
        candidates: As in `allot`.
        left: Seconds.
        prices: What is known so far.
        price: Seconds that measuring takes.
    """
    known = 0
    while known < len(candidates) and prices.knows(candidates[known]):
        known += 1
    if known == len(candidates):
        return None
    found = allot(candidates[:known], left, prices, first_is_due=True)
    full = len(found) == known and all(
        item.epochs == item.candidate.fold_set.epochs for item in found
    )
    if known and not (full and sum(item.seconds for item in found) + price < left):
        return None
    return candidates[known].fold_set.config


@dataclass(slots=True)
class Paces:
    """Paces as they were measured, corrected by what members really took.

    Args:
        measured: By the configuration's digest.
    """

    measured: dict[str, Pace] = field(default_factory=dict)
    _sums: dict[str, tuple[float, float]] = field(default_factory=dict)

    def note(self, config: TrainingConfig, epochs: int, taken: float) -> None:
        """Take note of a member's training from its start to its end.

        Args:
            config: Its configuration.
            epochs: Its epochs.
            taken: Seconds.
        """
        pace = self.measured.get(config.digest)
        if pace is None:
            return
        expected, sum_taken = self._sums.get(config.digest, (0.0, 0.0))
        self._sums[config.digest] = (expected + pace.seconds(epochs), sum_taken + taken)

    def now(self) -> dict[str, Pace]:
        """Return the corrected paces.

        A configuration's own members correct it; one that has none yet is corrected by all.
        """
        total = _ratio(self._sums.values())
        return {
            name: pace.scaled(_ratio([self._sums[name]]) if name in self._sums else total)
            for name, pace in self.measured.items()
        }


def describe(
    allotments: Sequence[Allotment],
    prices: Prices,
    speeds: Mapping[str, float],
    budget: float,
    small: Allotment | None = None,
) -> list[str]:
    """Return the plan in lines a person can read.

    Args:
        allotments: The sets.
        prices: What they cost.
        speeds: Training images per second, by the configuration's digest.
        budget: The seconds that are left for them.
        small: The small set that comes before; what follows it is planned anew once it is there.
    """
    items = [*([small] if small else []), *allotments]
    total = sum(item.seconds for item in items)
    count = counted(len(items), "fold set")
    lines = [f"plan: {count} in {duration(total)} of {duration(budget)}"]
    for item in items:
        config, repeat = item.fold_set.config, item.fold_set.repeat
        speed = speeds.get(config.digest)
        measured = f", {speed * prices.workers:,.0f} images/s" if speed else ""
        copies, augmenting = prices.augmenting(item.candidate, item.epochs)
        made = ""
        if copies:
            made = f", of it {duration(augmenting)} for augmented copies ({copies})"
        lines.append(
            f"  {config.digest[:8]} {config.family}, repeat {repeat}: {prices.folds} folds × "
            f"{item.epochs} epochs{measured}, {duration(item.seconds)}{made}"
            + ("; small, so that there is something to submit" if item is small else "")
        )
        prices = prices.after(item.candidate, item.epochs)
    return lines


def _most_epochs(candidate: Candidate, least: int, left: float, prices: Prices) -> int | None:
    for epochs in range(candidate.fold_set.epochs, least - 1, -1):
        if prices.seconds(candidate, epochs) <= left:
            return epochs
    return None


def _ratio(sums: Iterable[tuple[float, float]]) -> float:
    expected, taken = (sum(part) for part in zip(*sums, strict=True)) if sums else (0.0, 0.0)
    return taken / expected if expected else 1.0
