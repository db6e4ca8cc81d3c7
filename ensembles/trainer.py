"""Which members are there, what the others need, and who trains them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from ensembles.executors import Executor
from ensembles.members import FoldSet, MemberKey, MemberStore
from ensembles.pseudo_labels import (
    PseudoRule,
    decided_by,
    helpers,
    require_some,
    select,
    unsmoothed,
)
from ensembles.workshop import Made, Order, Workshop, short
from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.jobs import PseudoLabels
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.files import remove
from kaggle_digits.ground.progress import Progress, Task
from kaggle_digits.ground.stamps import digest


class Trainer:
    """Names members, trains those that are not there, and counts both.

    Args:
        workshop: What training needs; a member's seed comes from its folds' seed. Where networks
            are kept, a member without its network is not there.
        executor: Who trains.
        copies: Augmented copies a member walks through at most.
        rule: How pseudo-labels are made; None for none.
        progress: Told of every member.
        clock: Gives seconds that never run back.

    Attributes:
        dataset: The data.
        folds: Their folds.
        executor: Who trains.
        store: The workspace's members.
        trained: Members trained by this trainer.
        known: Members that were there already.
        augmenting: Seconds that augmented copies took.
    """

    def __init__(
        self,
        workshop: Workshop,
        executor: Executor,
        *,
        copies: int,
        rule: PseudoRule | None,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = MemberStore(workshop.workspace)
        self.trained = self.known = 0
        self.augmenting = 0.0
        self.dataset = workshop.dataset
        self.folds = workshop.folds
        self.executor = executor
        self._workshop = workshop
        self._copies = copies
        self._keep_weights = workshop.keep_weights
        self._rule = rule
        self._progress = progress
        self._clock = clock
        self._sources: dict[int, Sequence[MemberKey]] = {}
        self._labels: dict[tuple[int, int], PseudoLabels] = {}

    def begin_round(self, round: int, sources: Sequence[MemberKey]) -> None:
        """Say whose test predictions become the labels of a round of pseudo-labels.

        Args:
            round: From 1.
            sources: All members of the round before.
        """
        self._sources[round] = tuple(sources)
        self._labels = {which: found for which, found in self._labels.items() if which[0] != round}

    def keys(self, fold_set: FoldSet) -> list[MemberKey]:
        """Return the keys of a fold set, fold by fold."""
        config = fold_set.config
        bank = self.bank(config).digest
        return [
            MemberKey(
                config=config,
                fold=fold,
                seed=_member_seed(self.folds.seed, config, fold, fold_set.repeat, fold_set.round),
                epochs=fold_set.epochs,
                copies=min(self._copies, fold_set.epochs),
                data=self.dataset.digest,
                folds=self.folds.digest,
                bank=bank,
                repeat=fold_set.repeat,
                round=fold_set.round,
                pseudo=self._decided_by(fold_set.round, fold),
            )
            for fold in range(self.folds.count)
        ]

    def bank(self, config: TrainingConfig, *, test: bool = False) -> Bank:
        """Return a configuration's bank, of the training images or of the test images."""
        return self._workshop.bank(config, test=test)

    def make_copies(self, config: TrainingConfig, copies: int, *, test: bool = False) -> None:
        """Make those of a bank's first copies that are not there yet, on all cores."""
        started = self._clock()
        bank = self.bank(config, test=test)
        bank.ensure(copies, hardware.available_threads(), self._progress)
        self.augmenting += self._clock() - started

    def is_there(self, key: MemberKey) -> bool:
        """Say whether nothing is left to be done for a member."""
        return self.store.has(key) and (not self._keep_weights or self.store.has_weights(key))

    def tell_of_weights(self, keys: Sequence[MemberKey]) -> None:
        """Say how many members will be trained again because their networks were not kept."""
        again = sum(self.store.has(key) and not self.is_there(key) for key in keys)
        if again:
            self._progress.say(
                f"cv-train: {again} members have no weights and are trained again to keep them"
            )

    def pseudo_labels(self, round: int, fold: int) -> PseudoLabels:
        """Return the labels that join the training of a fold's members in a round.

        Raises:
            ConfigurationError: The rule lets no test image join.
            ArtefactError: A helper is broken.
        """
        assert self._rule is not None
        if (round, fold) not in self._labels:
            shape = len(self.folds.held_out_rows(fold)), len(self.dataset.test_images)
            classes = len(self.dataset.competition.classes)
            loaded = [
                unsmoothed(self.store.load(key, shape, classes).test, key.config.label_smoothing)
                for key in helpers(self._sources[round], fold)
            ]
            labels = select(loaded, self._rule)
            require_some(labels, fold, self._rule)
            self._labels[round, fold] = labels
        return self._labels[round, fold]

    def make_all(self, keys: Sequence[MemberKey], task: Task) -> Iterator[tuple[MemberKey, float]]:
        """Train those members that are not there.

        All of one round of pseudo-labels are there before the first of the next one is begun.

        Args:
            keys: Which, in the order they are begun in.
            task: Told of each.

        Yields:
            Each member that was trained, and the seconds it took, the making of augmented copies
            aside.

        Raises:
            TrainingError: One diverged or ran out of memory.
        """
        for _, of_round in groupby(keys, key=lambda key: key.round):
            for made in self.executor.run(self._orders(of_round, task)):
                self.trained += 1
                self._progress.say(_line(made))
                task.advance()
                yield made.key, made.seconds

    def _orders(self, keys: Iterable[MemberKey], task: Task) -> Iterator[Order]:
        for key in keys:
            if self.is_there(key):
                # A kill between storing and cleaning leaves these.
                remove(self.store.checkpoints(key))
                self.known += 1
                task.advance(timed=False)
                continue
            self.make_copies(key.config, key.copies)
            if not key.round:
                yield Order(key)
                continue
            labels = self.pseudo_labels(key.round, key.fold)
            self.make_copies(key.config, key.copies, test=True)
            yield Order(key, labels, self._about(key, labels))

    def _decided_by(self, round: int, fold: int) -> str:
        if not round:
            return ""
        assert self._rule is not None
        return decided_by(self._rule, [key.name for key in helpers(self._sources[round], fold)])

    def _about(self, key: MemberKey, labels: PseudoLabels) -> dict[str, Any]:
        assert self._rule is not None
        return {
            "rows": len(labels.rows),
            "digest": labels.digest,
            "rule": self._rule.to_json(),
            "helpers": [helper.name for helper in helpers(self._sources[key.round], key.fold)],
        }


def _member_seed(seed: int, config: TrainingConfig, fold: int, repeat: int, round: int) -> int:
    # Every member walks through the bank in an order of its own, so that members do not share what
    # one order happens to teach; and a member's seed does not hang on which others are trained.
    which: list[Any] = [seed, config.digest, fold]
    if repeat or round:
        which += [repeat, round]
    return int(digest(which)[:7], 16)


def _line(made: Made) -> str:
    return (
        f"member {short(made.key)}: accuracy {made.score.accuracy:.4f}, "
        f"log-loss {made.score.log_loss:.4f}, {made.seconds:.0f} s"
    )
