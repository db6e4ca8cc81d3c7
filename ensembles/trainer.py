"""Which members are there, what the others need, and who trains them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ensembles.member_training import Order, measure_pace, short, train_member
from ensembles.pseudo_labels import (
    PseudoRule,
    decided_by,
    helpers,
    require_some,
    select,
    unsmoothed,
)
from kaggle_digits.core.augmentation import Bank, Part
from kaggle_digits.core.calibration import best_temperature, temper
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.jobs import PseudoLabels
from kaggle_digits.core.predictions import score
from kaggle_digits.core.training import Throughput
from kaggle_digits.engine import Engine, Outcome, make_copies
from kaggle_digits.engine import Task as Work
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.files import remove
from kaggle_digits.ground.progress import Task
from kaggle_digits.ground.stamps import digest
from kaggle_digits.records.members import Member, MemberStore
from kaggle_digits.records.plan import FoldSet, MemberKey


class Trainer:
    """Names members, trains those that are not there, and counts both.

    Args:
        folds: The folds of the engine's data; the seeds of members and banks come from theirs.
        engine: Who trains; members and banks are in its workspace.
        keep_weights: Whether networks are kept; a member without its network is not there then.
        copies: Augmented copies a member walks through at most.
        rule: How pseudo-labels are made; None for none.
        clock: Gives seconds that never run back.
        made: Called after each member that was trained; None for nobody.

    Attributes:
        dataset: The data.
        folds: Their folds.
        engine: Who trains.
        store: The workspace's members.
        trained: Members trained by this trainer.
        known: Members that were there already.
        augmenting: Seconds that augmented copies took.
    """

    def __init__(
        self,
        folds: Folds,
        engine: Engine,
        *,
        copies: int,
        keep_weights: bool,
        rule: PseudoRule | None,
        clock: Callable[[], float] = time.monotonic,
        made: Callable[[], None] | None = None,
    ) -> None:
        self.store = MemberStore(engine.site.workspace)
        self.trained = self.known = 0
        self.augmenting = 0.0
        self.dataset = engine.site.dataset
        self.folds = folds
        self.engine = engine
        self._copies = copies
        self._keep_weights = keep_weights
        self._rule = rule
        self._progress = engine.site.progress
        self._clock = clock
        self._made = made
        self._sources: dict[int, Sequence[MemberKey]] = {}
        self._labels: dict[tuple[int, int], PseudoLabels] = {}

    def begin_round(self, pseudo_round: int, sources: Sequence[MemberKey]) -> None:
        """Say whose test predictions become the labels of a round of pseudo-labels.

        Args:
            pseudo_round: From 1.
            sources: All members of the round before.
        """
        self._sources[pseudo_round] = tuple(sources)
        self._labels = {
            which: found for which, found in self._labels.items() if which[0] != pseudo_round
        }

    def keys(self, fold_set: FoldSet) -> list[MemberKey]:
        """Return the keys of a fold set, fold by fold."""
        bank = self.bank(fold_set.config)
        return [self._key(fold_set, bank, fold, fold) for fold in range(self.folds.count)]

    def refit_keys(self, fold_set: FoldSet, count: int) -> list[MemberKey]:
        """Return the keys of members of all rows that stand beside a fold set.

        Args:
            fold_set: Which one, without pseudo-labels.
            count: How many.
        """
        bank = self.bank(fold_set.config)
        return [self._key(fold_set, bank, None, f"all {number}") for number in range(count)]

    def _key(self, fold_set: FoldSet, bank: Bank, fold: int | None, which: int | str) -> MemberKey:
        config = fold_set.config
        return MemberKey(
            config=config,
            fold=fold,
            seed=_member_seed(self.folds.seed, config, which, fold_set.repeat, fold_set.round),
            epochs=fold_set.epochs,
            copies=min(self._copies, fold_set.epochs),
            data=self.dataset.digest,
            folds=self.folds.digest,
            bank=bank.digest,
            repeat=fold_set.repeat,
            round=fold_set.round,
            pseudo="" if fold is None else self._decided_by(fold_set.round, fold),
        )

    def bank(self, config: TrainingConfig, *, test: bool = False) -> Bank:
        """Return a configuration's bank, of the training images or of the test images."""
        part: Part = "test" if test else "train"
        return Bank.of(config, self.dataset, self.folds.seed, self.engine.site.workspace, part)

    def make_copies(
        self,
        config: TrainingConfig,
        copies: int,
        *,
        test: bool = False,
        deadline: Deadline | None = None,
    ) -> None:
        """Make those of a bank's first copies that are not there yet; count the time it takes.

        Raises:
            OutOfTimeError: The deadline passed first.
        """
        started = self._clock()
        try:
            make_copies(self.engine, self.bank(config, test=test), range(copies), deadline)
        finally:
            self.augmenting += self._clock() - started

    def measure(self, config: TrainingConfig, seconds: float) -> Throughput:
        """Let all workers measure a configuration at the same time; return the mean."""
        self.make_copies(config, 1)
        given = (config, self.folds.seed, seconds)
        works = [
            Work(f"measuring {config.digest[:8]} ({number})", measure_pace, given)
            for number in range(self.engine.workers)
        ]
        found = [outcome.result() for outcome in self.engine.run(works)]
        return Throughput(
            *(
                float(np.mean([getattr(one, name) for one in found]))
                for name in ("images_per_second", "start_up", "predictions_per_second")
            )
        )

    def log_loss(self, sets: Sequence[Sequence[MemberKey]]) -> float:
        """Return the out-of-fold log-loss of the mean of whole fold sets, calibrated.

        Without one temperature for it, label smoothing would decide.

        Args:
            sets: Their members, fold by fold.

        Raises:
            ArtefactError: A member is broken.
        """
        classes = len(self.dataset.competition.classes)
        rows = [self.folds.held_out_rows(fold) for fold in range(self.folds.count)]
        told = np.zeros((sum(map(len, rows)), classes))
        for keys in sets:
            found = [
                self.store.held_out(key, len(own), classes)
                for key, own in zip(keys, rows, strict=True)
            ]
            told += np.concatenate(found) / len(sets)
        labels = self.dataset.labels[np.concatenate(rows)]
        return score(temper(told, best_temperature(told, labels)), labels).log_loss

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

    def pseudo_labels(self, pseudo_round: int, fold: int) -> PseudoLabels:
        """Return the labels that join the training of a fold's members in a round.

        Raises:
            ConfigurationError: The rule lets no test image join.
            ArtefactError: A helper is broken.
        """
        assert self._rule is not None
        if (pseudo_round, fold) not in self._labels:
            shape = len(self.folds.held_out_rows(fold)), len(self.dataset.test_images)
            classes = len(self.dataset.competition.classes)
            loaded = [
                unsmoothed(self.store.load(key, shape, classes).test, key.config.label_smoothing)
                for key in helpers(self._sources[pseudo_round], fold)
            ]
            labels = select(loaded, self._rule)
            require_some(labels, fold, self._rule)
            self._labels[pseudo_round, fold] = labels
        return self._labels[pseudo_round, fold]

    def make_all(
        self, keys: Sequence[MemberKey], task: Task, deadline: Deadline | None = None
    ) -> Iterator[tuple[MemberKey, float]]:
        """Train those members that are not there.

        All of one round of pseudo-labels are there before the first of the next one is begun.

        Args:
            keys: Which, in the order they are begun in.
            task: Told of each.
            deadline: When they have to be there; None for never.

        Yields:
            Each member that was trained, and the seconds it took, the making of augmented copies
            aside.

        Raises:
            TrainingError: One diverged or ran out of memory.
            OutOfTimeError: The deadline passed; called again, they go on from their checkpoints.
        """
        for _, of_round in groupby(keys, key=lambda key: key.round):
            for outcome in self.engine.run(self._works(of_round, task, deadline)):
                key = self._keep(outcome)
                self.trained += 1
                if self._made is not None:
                    self._made()
                task.advance(note=self.engine.by_node or None)
                yield key, outcome.seconds

    def _works(
        self, keys: Iterable[MemberKey], task: Task, deadline: Deadline | None
    ) -> Iterator[Work]:
        for key in keys:
            if self.is_there(key):
                # A kill between storing and cleaning leaves these.
                remove(self.store.checkpoints(key))
                self.known += 1
                task.advance(timed=False)
                continue
            # While others are at work.
            self.make_copies(key.config, key.copies, deadline=deadline)
            labels = None
            if key.round and key.fold is not None:
                labels = self.pseudo_labels(key.round, key.fold)
                self.make_copies(key.config, key.copies, test=True, deadline=deadline)
            order = Order(key, self.folds, self._keep_weights, labels, deadline)
            yield Work(f"member {key.name}", train_member, (order,))

    def _keep(self, outcome: Outcome) -> MemberKey:
        """Store a member that has been trained.

        Raises:
            TrainingError: It diverged, ran out of memory, or its workers died.
            ArtefactError: It cannot be stored.
        """
        member: Member
        member, model = outcome.result()
        key = member.key
        member.record.update(seconds=round(outcome.seconds, 1), node=outcome.node)
        if key.round and key.fold is not None:
            member.record["pseudo_labels"] = self._about(key, key.fold)
        if not self.store.has(key):
            self.store.add(member, model)
        elif model is not None and not self.store.add_weights(member, model):
            self._progress.say(
                f"member {short(key)}: trained again for its weights, it predicts otherwise than "
                "before (another machine, version or number of threads); the new one has taken its "
                "place"
            )
        remove(self.store.checkpoints(key))
        judged = member.record.get("score")
        figures = "" if judged is None else (
            f"accuracy {judged['accuracy']:.4f}, log-loss {judged['log_loss']:.4f}, "
        )  # fmt: skip
        self._progress.say(f"member {short(key)}: {figures}{outcome.seconds:.0f} s")
        return key

    def _decided_by(self, pseudo_round: int, fold: int) -> str:
        if not pseudo_round:
            return ""
        assert self._rule is not None
        return decided_by(
            self._rule, [key.name for key in helpers(self._sources[pseudo_round], fold)]
        )

    def _about(self, key: MemberKey, fold: int) -> dict[str, Any]:
        """Return what a member's record says of its pseudo-labels."""
        assert self._rule is not None
        labels = self.pseudo_labels(key.round, fold)
        return {
            "rows": len(labels.rows),
            "digest": labels.digest,
            "rule": self._rule.to_json(),
            "helpers": [helper.name for helper in helpers(self._sources[key.round], fold)],
        }


def _member_seed(
    seed: int, config: TrainingConfig, which_one: int | str, repeat: int, pseudo_round: int
) -> int:
    # Every member walks through the bank in an order of its own, so that members do not share what
    # one order happens to teach; and a member's seed does not depend on which others are trained.
    which: list[Any] = [seed, config.digest, which_one]
    if repeat or pseudo_round:
        which += [repeat, pseudo_round]
    return int(digest(which)[:7], 16)
