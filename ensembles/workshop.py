"""One member made: from an order to predictions on disk; the one place that trains members."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ensembles.members import MODEL, Member, MemberKey, MemberStore
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.jobs import PseudoLabels, TrainingJob
from kaggle_digits.core.predictions import Score, score
from kaggle_digits.core.training import Throughput, measure, train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.files import remove
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A member to be trained; its augmented copies have been made.

    Args:
        key: Which one.
        labels: Its pseudo-labels; None for none.
        about: What the member's record says of them.
    """

    key: MemberKey
    labels: PseudoLabels | None = None
    about: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A member that has been trained and stored.

    Args:
        key: Which one.
        score: On its fold.
        seconds: What all of it took.
    """

    key: MemberKey
    score: Score
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Workshop:
    """What training a member needs; the same value in every process that trains.

    Args:
        dataset: The data.
        folds: Their folds; banks' seeds come from the folds' seed.
        workspace: Where members and banks are.
        keep_weights: Whether networks are kept.
    """

    dataset: Dataset
    folds: Folds
    workspace: Workspace
    keep_weights: bool

    def bank(self, config: TrainingConfig, *, test: bool = False) -> Bank:
        """Return a configuration's bank, of the training images or of the test images."""
        return Bank(
            self.dataset,
            config.augmentation,
            self.folds.seed,
            self.workspace,
            "test" if test else "train",
            config.normalisation,
        )

    def measure(self, config: TrainingConfig, seconds: float) -> Throughput:
        """Measure how fast a configuration is; its bank's first copy has been made."""
        return measure(config, self.dataset, self.bank(config), seconds=seconds)

    def make(
        self, order: Order, progress: Progress, clock: Callable[[], float] = time.monotonic
    ) -> Made:
        """Train a member and store it.

        Args:
            order: Which one.
            progress: Told of every step.
            clock: Gives seconds that never run back.

        Raises:
            TrainingError: It diverged or ran out of memory.
            ArtefactError: It cannot be stored.
        """
        started = clock()
        key, store = order.key, MemberStore(self.workspace)
        config, rows = key.config, self.folds.held_out_rows(key.fold)
        place = store.checkpoints(key)
        model = place / MODEL if self.keep_weights else None
        trained = train(
            TrainingJob(
                name=f"member {short(key)}",
                config=config,
                train_rows=self.folds.training_rows(key.fold),
                held_out_rows=rows,
                epochs=key.epochs,
                copies=key.copies,
                seed=key.seed,
                predict_test=True,
                pseudo_labels=order.labels,
            ),
            self.dataset,
            self.bank(config),
            place,
            progress,
            test_bank=self.bank(config, test=True) if order.labels is not None else None,
            model_file=model,
        )
        assert trained.test is not None  # the job asked for it
        judged = score(trained.held_out, self.dataset.labels[rows])
        record: dict[str, Any] = trained.record | {
            "score": asdict(judged),
            "history": trained.history,
            "training_seconds": trained.seconds,
            "seconds": round(clock() - started, 1),
        }
        if order.about is not None:
            record["pseudo_labels"] = order.about
        member = Member(key, trained.held_out, trained.test, record)
        if not store.has(key):
            store.add(member, model)
        elif model is not None and not store.add_weights(member, model):
            progress.say(
                f"member {short(key)}: trained again for its weights, it predicts otherwise than "
                "before (another machine or version); the new one has taken its place"
            )
        remove(place)
        return Made(key, judged, clock() - started)


def short(key: MemberKey) -> str:
    """Return how progress names a member."""
    words = f"{key.config.digest[:8]} fold {key.fold}"
    if key.repeat:
        words += f" repeat {key.repeat}"
    return f"{words} round {key.round}" if key.round else words
