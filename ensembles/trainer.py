"""From a member's key to its predictions on disk: the one place that trains members."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ensembles.members import MODEL, FoldSet, Member, MemberKey, MemberStore
from ensembles.pseudo_labels import PseudoRule, decided_by, helpers, require_some, select
from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.jobs import PseudoLabels, TrainingJob
from kaggle_digits.core.predictions import score
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace, digest, remove

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


class Trainer:
    """Names members, trains those that are not there, and counts both.

    Args:
        dataset: The data.
        folds: Their folds; members' and banks' seeds come from the folds' seed.
        workspace: Where members and banks are.
        copies: Augmented copies a member walks through at most.
        keep_weights: Whether networks are kept; then a member without its network is not there.
        rule: How pseudo-labels are made; None for none.
        progress: Told of every member.
        clock: Gives seconds.

    Attributes:
        dataset: The data.
        folds: Their folds.
        store: The workspace's members.
        trained: Members trained by this trainer.
        known: Members that were there already.
    """

    def __init__(
        self,
        dataset: Dataset,
        folds: Folds,
        workspace: Workspace,
        *,
        copies: int,
        keep_weights: bool,
        rule: PseudoRule | None,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = MemberStore(workspace)
        self.trained = self.known = 0
        self.dataset = dataset
        self.folds = folds
        self._workspace = workspace
        self._copies = copies
        self._keep_weights = keep_weights
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
        bank = self.bank(config.augmentation).digest
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

    def bank(self, policy: str, *, test: bool = False) -> Bank:
        """Return the bank of a policy, of the training images or of the test images."""
        return Bank(
            self.dataset, policy, self.folds.seed, self._workspace, "test" if test else "train"
        )

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
                self.store.load(key, shape, classes).test
                for key in helpers(self._sources[round], fold)
            ]
            labels = select(loaded, self._rule)
            require_some(labels, fold, self._rule)
            self._labels[round, fold] = labels
        return self._labels[round, fold]

    def make(self, key: MemberKey) -> float | None:
        """Train a member unless it is there.

        Returns:
            The seconds its training took, the making of augmented copies aside; None if it was
            there.

        Raises:
            TrainingError: It diverged or ran out of memory.
        """
        if self.is_there(key):
            # A kill between storing and cleaning leaves these.
            remove(self.store.checkpoints(key))
            self.known += 1
            return None
        labels = self.pseudo_labels(key.round, key.fold) if key.round else None
        bank = self._ready(key, test=False)
        test_bank = None if labels is None else self._ready(key, test=True)
        started = self._clock()
        member = self._train(key, labels, bank, test_bank)
        self.trained += 1
        self._progress.say(_line(member))
        return self._clock() - started

    def _train(
        self, key: MemberKey, labels: PseudoLabels | None, bank: Bank, test_bank: Bank | None
    ) -> Member:
        started = time.monotonic()
        rows = self.folds.held_out_rows(key.fold)
        place = self.store.checkpoints(key)
        model = place / MODEL if self._keep_weights else None
        job = TrainingJob(
            name=f"member {_short(key)}",
            config=key.config,
            train_rows=self.folds.training_rows(key.fold),
            held_out_rows=rows,
            epochs=key.epochs,
            copies=key.copies,
            seed=key.seed,
            predict_test=True,
            pseudo_labels=labels,
        )
        trained = train(
            job, self.dataset, bank, place, self._progress, test_bank=test_bank, model_file=model
        )
        assert trained.test is not None  # the job asked for it
        record: dict[str, Any] = trained.record | {
            "score": asdict(score(trained.held_out, self.dataset.labels[rows])),
            "history": trained.history,
            "training_seconds": trained.seconds,
            "seconds": round(time.monotonic() - started, 1),
        }
        if labels is not None:
            record["pseudo_labels"] = self._about(key, labels)
        member = Member(key, trained.held_out, trained.test, record)
        if not self.store.has(key):
            self.store.add(member, model)
        elif model is not None and not self.store.add_weights(member, model):
            self._progress.say(
                f"member {_short(key)}: trained again for its weights, it predicts otherwise than "
                "before (another machine or version); the new one has taken its place"
            )
        remove(place)
        return member

    def _ready(self, key: MemberKey, *, test: bool) -> Bank:
        bank = self.bank(key.config.augmentation, test=test)
        bank.ensure(key.copies, hardware.available_threads(), self._progress)
        return bank

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


def _short(key: MemberKey) -> str:
    words = f"{key.config.digest[:8]} fold {key.fold}"
    if key.repeat:
        words += f" repeat {key.repeat}"
    return f"{words} round {key.round}" if key.round else words


def _line(member: Member) -> str:
    judged = member.record["score"]
    return (
        f"member {_short(member.key)}: accuracy {judged['accuracy']:.4f}, "
        f"log-loss {judged['log_loss']:.4f}, {member.record['seconds']:.0f} s"
    )
