"""Which fold sets are trained, in what order, and what of them fits into a time budget.

Values and arithmetic only: nothing here trains, and no clock is read but the one that is given.

The rule: all folds of the best configuration first, then those of the next one, and so on; then
the same again with other seeds. Each set has the preset's epochs as long as it fits; the last one
may have fewer, half of them at least; the first one is always made, with one epoch if need be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.durations import duration
from kaggle_digits.ground.progress import counted
from kaggle_digits.records.plan import FoldSet

MOST_SEEDS = 100
"""Trainings of one configuration with other seeds, at most."""

_WORKERS_START = 2.5
"""Seconds until the processes that augment have started and imported albumentations."""


def in_order(
    configs: Sequence[TrainingConfig], seeds: int, epochs: int, round: int = 0
) -> Iterator[FoldSet]:
    """Yield fold sets in the order they are trained in.

    Args:
        configs: From best to worst.
        seeds: Trainings of each.
        epochs: Of each set.
        round: Of each set.
    """
    for repeat in range(seeds):
        for config in configs:
            yield FoldSet(config, repeat, round, epochs)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fold set that may be trained within a budget.

    Args:
        fold_set: Which one, with the most epochs it may have.
        begun: Whether members of it are there, or under way, so that its epochs are fixed.
        there: How many of its members are there with all its epochs.
    """

    fold_set: FoldSet
    begun: bool = False
    there: int = 0

    @property
    def least(self) -> int:
        """The fewest epochs that are worth while where other sets are there already."""
        return self.fold_set.epochs if self.begun else -(-self.fold_set.epochs // 2)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the parts of a member's training take, in seconds.

    Args:
        member: What each member takes whatever its epochs: start-up, predictions, storing.
        epoch: An epoch.
        copy: Making one copy of the augmentation bank.
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
    """

    folds: int
    copies: int
    paces: Mapping[str, Pace]
    made: Mapping[str, int] = field(default_factory=dict)
    workers: int = 1

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
        copies = max(0, min(epochs, self.copies) - self.made.get(fold_set.config.inputs, 0))
        augmenting = _WORKERS_START + copies * pace.copy if copies and pace.copy else 0.0
        turns = -(-(self.folds - there) // self.workers)
        return turns * pace.seconds(epochs) + augmenting

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
    candidates: Sequence[Candidate], left: float, prices: Prices
) -> TrainingConfig | None:
    """Return the next configuration whose pace decides what fits; None if none does.

    A configuration whose turn would not come within the time needs no measuring.

    Args:
        candidates: As in `allot`.
        left: Seconds.
        prices: What is known so far.
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
    if known and not (full and sum(item.seconds for item in found) < left):
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
    allotments: Sequence[Allotment], prices: Prices, speeds: Mapping[str, float], budget: float
) -> list[str]:
    """Return the plan in lines a person can read.

    Args:
        allotments: The sets.
        prices: What they cost.
        speeds: Training images per second, by the configuration's digest.
        budget: The budget in seconds.
    """
    total = sum(item.seconds for item in allotments)
    count = counted(len(allotments), "fold set")
    lines = [f"plan: {count} in {duration(total)} of {duration(budget)}"]
    for item in allotments:
        config, repeat = item.fold_set.config, item.fold_set.repeat
        speed = speeds.get(config.digest)
        measured = f", {speed * prices.workers:,.0f} images/s" if speed else ""
        lines.append(
            f"  {config.digest[:8]} {config.family}, repeat {repeat}: {prices.folds} folds × "
            f"{item.epochs} epochs{measured}, {duration(item.seconds)}"
        )
    return lines


def _most_epochs(candidate: Candidate, least: int, left: float, prices: Prices) -> int | None:
    for epochs in range(candidate.fold_set.epochs, least - 1, -1):
        if prices.seconds(candidate, epochs) <= left:
            return epochs
    return None


def _ratio(sums: Iterable[tuple[float, float]]) -> float:
    expected, taken = (sum(part) for part in zip(*sums, strict=True)) if sums else (0.0, 0.0)
    return taken / expected if expected else 1.0
