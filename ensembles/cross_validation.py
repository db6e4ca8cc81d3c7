"""Cross-validation: configurations × folds as independent members, made once and never again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ensembles.members import Member, MemberKey, MemberStore
from kaggle_digits.core import hardware
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.folds import Folds, make_folds
from kaggle_digits.core.jobs import TrainingJob
from kaggle_digits.core.predictions import score
from kaggle_digits.core.training import train
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.progress import Progress
from kaggle_digits.ground.workspace import Workspace, digest, remove

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


@dataclass(frozen=True, slots=True)
class CrossValidationSettings:
    """How configurations become members.

    Args:
        folds: Number of folds.
        epochs: Passes over the training part, for each member.
        copies: Augmented copies in the bank.
        seed: Fixes folds, bank, and each member's own seed.
    """

    folds: int
    epochs: int
    copies: int
    seed: int


def cross_validate(
    configs: Sequence[TrainingConfig],
    dataset: Dataset,
    workspace: Workspace,
    settings: CrossValidationSettings,
    progress: Progress,
) -> list[MemberKey]:
    """Train what is missing of configurations × folds.

    Whole fold sets come first: all folds of the best configuration, then those of the next, so that
    a run that is ended early can be blended from complete sets.

    Args:
        configs: From best to worst.
        dataset: The data.
        workspace: Where members are stored.
        settings: How they are trained.
        progress: Told of every member.

    Returns:
        All members' keys, in order.

    Raises:
        DataError: A class has fewer rows than folds.
        TrainingError: A member diverged or ran out of memory.
    """
    folds = make_folds(dataset, settings.folds, settings.seed, workspace)
    store = MemberStore(workspace)
    banks = {
        config.augmentation: Bank(dataset, config.augmentation, settings.seed, workspace)
        for config in configs
    }
    keys = [
        MemberKey(
            config=config,
            fold=fold,
            seed=_member_seed(settings.seed, config, fold),
            epochs=settings.epochs,
            copies=settings.copies,
            data=dataset.digest,
            folds=folds.digest,
            bank=banks[config.augmentation].digest,
        )
        for config in configs
        for fold in range(settings.folds)
    ]
    store.write_plan(asdict(settings), keys)
    with progress.task("cv-train", len(keys), "members") as task:
        for key in keys:
            if not store.has(key):
                bank = banks[key.config.augmentation]
                bank.ensure(settings.copies, hardware.available_threads(), progress)
                member = _train(key, folds, dataset, workspace, bank, store, progress)
                progress.say(_line(member))
            task.advance()
    return keys


def _member_seed(seed: int, config: TrainingConfig, fold: int) -> int:
    # Every member walks through the bank in an order of its own, so that members do not share what
    # one order happens to teach; and a member's seed does not hang on which others are trained.
    return int(digest([seed, config.digest, fold])[:7], 16)


def _train(
    key: MemberKey,
    folds: Folds,
    dataset: Dataset,
    workspace: Workspace,
    bank: Bank,
    store: MemberStore,
    progress: Progress,
) -> Member:
    started = time.monotonic()
    rows = folds.held_out_rows(key.fold)
    job = TrainingJob(
        name=f"member {key.config.digest[:8]} fold {key.fold}",
        config=key.config,
        train_rows=folds.training_rows(key.fold),
        held_out_rows=rows,
        epochs=key.epochs,
        copies=key.copies,
        seed=key.seed,
        predict_test=True,
    )
    trained = train(job, dataset, bank, workspace.cache / "checkpoints", progress)
    assert trained.test is not None  # the job asked for it
    record: dict[str, Any] = trained.record | {
        "score": asdict(score(trained.held_out, dataset.labels[rows])),
        "history": trained.history,
        "training_seconds": trained.seconds,
        "seconds": round(time.monotonic() - started, 1),
    }
    member = Member(key, trained.held_out, trained.test, record)
    store.add(member)
    remove(trained.checkpoint)
    return member


def _line(member: Member) -> str:
    judged = member.record["score"]
    return (
        f"member {member.key.config.digest[:8]} fold {member.key.fold}: accuracy "
        f"{judged['accuracy']:.4f}, log-loss {judged['log_loss']:.4f}, "
        f"{member.record['seconds']:.0f} s"
    )
