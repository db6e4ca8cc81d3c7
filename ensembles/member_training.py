"""What the engine runs for members: the task that trains one, and the one that measures a pace."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.jobs import PseudoLabels, TrainingJob
from kaggle_digits.core.predictions import Score, score
from kaggle_digits.core.training import Throughput, measure, train
from kaggle_digits.engine import Site
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.files import remove
from kaggle_digits.records.members import MODEL, MemberStore
from kaggle_digits.records.plan import MemberKey


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A member to be trained.

    Args:
        key: Which one.
        train_rows: int32, the rows it trains on, ascending.
        held_out_rows: int32, the rows of its fold, ascending.
        bank_seed: Fixes the copies it is trained on.
        keeps_weights: Whether its network is wanted as well.
        labels: Its pseudo-labels; None for none.
        about: What the member's record says of them.
        deadline: When it has to be there; None for the site's.
    """

    key: MemberKey
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    bank_seed: int
    keeps_weights: bool
    labels: PseudoLabels | None = None
    about: dict[str, Any] | None = None
    deadline: Deadline | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A member that has been trained; the driver stores it.

    Args:
        held_out: Softmax on its fold's rows, float32 [fold rows, classes].
        test: Softmax on the test images, float32 [test rows, classes].
        score: On its fold.
        record: Scores, losses, seconds, hardware.
        model: Its network as a Keras file's bytes; None unless wanted.
    """

    held_out: np.ndarray
    test: np.ndarray
    score: Score
    record: dict[str, Any]
    model: bytes | None


def train_member(site: Site, order: Order) -> Made:
    """Train a member; what its node lacks of the bank is made first.

    Raises:
        TrainingError: It diverged or ran out of memory.
        OutOfTimeError: The deadline passed; called again on this machine, it goes on.
        ArtefactError: The site's cache cannot be written.
    """
    key, dataset = order.key, site.dataset
    rows = order.held_out_rows
    bank = Bank.of(key.config, dataset, order.bank_seed, site.workspace)
    bank.ensure(range(key.copies), site.progress)
    test_bank = None
    if order.labels is not None:
        test_bank = Bank.of(key.config, dataset, order.bank_seed, site.workspace, "test")
        test_bank.ensure(range(key.copies), site.progress)
    place = MemberStore(site.workspace).checkpoints(key)
    model = place / MODEL if order.keeps_weights else None
    trained = train(
        TrainingJob(
            name=f"member {short(key)}",
            config=key.config,
            train_rows=order.train_rows.astype(np.int64),
            held_out_rows=rows.astype(np.int64),
            epochs=key.epochs,
            copies=key.copies,
            seed=key.seed,
            predict_test=True,
            pseudo_labels=order.labels,
        ),
        dataset,
        bank,
        place,
        site.progress,
        deadline=order.deadline or site.deadline,
        test_bank=test_bank,
        model_file=model,
    )
    assert trained.test is not None  # the job asked for it
    judged = score(trained.held_out, dataset.labels[rows])
    record: dict[str, Any] = trained.record | {
        "score": asdict(judged),
        "history": trained.history,
        "training_seconds": trained.seconds,
    }
    if dataset.fixes is not None:
        given = asdict(score(trained.held_out, dataset.given_labels[rows]))
        record["labels"] = dataset.fixes.account() | {"score": given}
    if order.about is not None:
        record["pseudo_labels"] = order.about
    content = None if model is None else model.read_bytes()
    if not site.is_home:
        remove(place)  # the driver cannot; it removes its own once the member is stored
    return Made(trained.held_out, trained.test, judged, record, content)


def measure_pace(site: Site, config: TrainingConfig, bank_seed: int, seconds: float) -> Throughput:
    """Measure how fast a configuration is for one worker while all are at work."""
    bank = Bank.of(config, site.dataset, bank_seed, site.workspace)
    bank.ensure(range(1), site.progress)
    return measure(config, site.dataset, bank, seconds=seconds)


def short(key: MemberKey) -> str:
    """Return how progress names a member."""
    words = f"{key.config.digest[:8]} fold {key.fold}"
    if key.repeat:
        words += f" repeat {key.repeat}"
    return f"{words} round {key.round}" if key.round else words
