"""What the engine runs for members: the task that trains one, and the one that measures a pace."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.folds import Folds
from kaggle_digits.core.jobs import PseudoLabels, TrainingJob
from kaggle_digits.core.predictions import score
from kaggle_digits.core.training import Throughput, measure, train
from kaggle_digits.engine import Site
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.files import remove
from kaggle_digits.records.members import MODEL, Member, MemberStore
from kaggle_digits.records.plan import MemberKey


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A member to be trained.

    Args:
        key: Which one.
        folds: Its fold is one of them, if it has one; their seed fixes the copies it is trained on.
        keeps_weights: Whether its network is wanted as well.
        labels: Its pseudo-labels; None for none.
        deadline: When it has to be there; None for the site's.
    """

    key: MemberKey
    folds: Folds
    keeps_weights: bool
    labels: PseudoLabels | None = None
    deadline: Deadline | None = None


def train_member(site: Site, order: Order) -> tuple[Member, bytes | None]:
    """Train a member; what its node lacks of the bank is made first.

    Returns:
        The member, which the driver stores; and its network as a Keras file's bytes, if wanted.

    Raises:
        TrainingError: It diverged or ran out of memory.
        OutOfTimeError: The deadline passed; called again on this machine, it goes on.
        ArtefactError: The site's cache cannot be written.
    """
    key, dataset, seed = order.key, site.dataset, order.folds.seed
    rows = order.folds.held_out_rows(key.fold)
    bank = Bank.of(key.config, dataset, seed, site.workspace)
    bank.ensure(range(key.copies), site.progress, site.deadline)
    test_bank = None
    if order.labels is not None:
        test_bank = Bank.of(key.config, dataset, seed, site.workspace, "test")
        test_bank.ensure(range(key.copies), site.progress, site.deadline)
    place = MemberStore(site.workspace).checkpoints(key)
    model = place / MODEL if order.keeps_weights else None
    trained = train(
        TrainingJob(
            name=f"member {short(key)}",
            config=key.config,
            train_rows=order.folds.training_rows(key.fold),
            held_out_rows=rows,
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
    record: dict[str, Any] = trained.record | {
        "history": trained.history,
        "training_seconds": trained.seconds,
    }
    groups = dataset.groups_of(rows)
    if len(rows):
        record["score"] = asdict(score(trained.held_out, dataset.labels[rows], groups))
    if len(rows) and dataset.fixes is not None:
        given = asdict(score(trained.held_out, dataset.given_labels[rows], groups))
        record["labels"] = dataset.fixes.account() | {"score": given}
    content = None if model is None else model.read_bytes()
    if not site.is_home:
        remove(place)  # the driver cannot; it removes its own once the member is stored
    return Member(key, trained.held_out, trained.test, record), content


def measure_pace(site: Site, config: TrainingConfig, bank_seed: int, seconds: float) -> Throughput:
    """Measure how fast a configuration is for one worker while all are at work."""
    bank = Bank.of(config, site.dataset, bank_seed, site.workspace)
    bank.ensure(range(1), site.progress)
    return measure(config, site.dataset, bank, seconds=seconds)


def short(key: MemberKey) -> str:
    """Return how progress names a member."""
    part = "of all rows" if key.fold is None else f"fold {key.fold}"
    words = f"{key.config.digest[:8]} {part}"
    if key.repeat:
        words += f" repeat {key.repeat}"
    return f"{words} round {key.round}" if key.round else words
